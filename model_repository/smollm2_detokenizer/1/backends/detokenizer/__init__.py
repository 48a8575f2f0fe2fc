"""Token ids in, text out."""
