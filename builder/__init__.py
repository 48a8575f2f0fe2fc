"""Turn a model checkpoint into a proven Triton model repository; `pipeline.py` tells the story."""

__version__ = "0.1.0"
