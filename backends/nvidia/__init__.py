"""NVIDIA's stock models for TensorRT-LLM: what their Python parts share."""
