"""Which model answers for a name: aliases, splits, canaries, fallbacks; it knows neither HTTP nor Triton."""
