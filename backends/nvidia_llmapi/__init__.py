"""NVIDIA's llmapi model: a text in, streamed text out."""
