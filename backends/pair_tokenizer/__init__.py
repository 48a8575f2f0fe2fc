"""A query and its documents in, the ids of all pairs out, for cross-encoders."""
