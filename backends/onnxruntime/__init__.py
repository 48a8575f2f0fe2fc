"""Triton's `onnxruntime` backend in Python, for servers that lack NVIDIA's: same folder, same config."""
