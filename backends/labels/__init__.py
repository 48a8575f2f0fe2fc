"""Scores of tokens in, the entities of a text out."""
