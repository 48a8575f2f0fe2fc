"""The rooms of benchmarks/llm_gpu.py."""
