"""The GGUF format: its header, its vocabulary of settings, its tokenizer and its weights."""
