"""The parts of benchmarks/convert.py: random checkpoints, those that convert them, and how they are timed."""
