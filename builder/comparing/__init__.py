"""The parts of `builder compare`: which variants there are, one of them tried, what was found kept."""
