"""Texts in, rows of token ids out, for models that read a whole text in one pass."""
