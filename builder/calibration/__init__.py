"""Texts that numbers are measured with before a model is quantised, and how like they are to its workload."""
