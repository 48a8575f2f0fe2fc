"""Doors for clients of OpenAI's API in front of the instant model, and what is measured of them."""
