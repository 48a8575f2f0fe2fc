"""OpenAI's HTTP API: one file for each endpoint, and what they share."""
