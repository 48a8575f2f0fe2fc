"""NVIDIA's preprocessing: a text in, the engine's tensors out."""
