"""The OpenAI door: a client of Triton like any other, in front of any of its repositories."""
