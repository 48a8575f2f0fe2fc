"""Bytes of image files in, the pixels that a model reads out."""
