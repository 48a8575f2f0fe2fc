"""NVIDIA's postprocessing: ids in, text out."""
