"""NVIDIA's tensorrt_llm_bls: a text in, streamed text out."""
