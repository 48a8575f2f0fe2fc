"""The scores of pairs in, those of each query's documents out, for cross-encoders."""
