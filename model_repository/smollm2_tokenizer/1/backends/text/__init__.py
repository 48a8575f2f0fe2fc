"""Text to ids and back, for every model that speaks: pure, without Triton."""
