"""What a model that answers in one pass is proven by; one file for each sort of input."""
