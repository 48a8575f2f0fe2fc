"""NVIDIA's Triton models for TensorRT-LLM: their tensors, their parameters, and the engine's own model."""
