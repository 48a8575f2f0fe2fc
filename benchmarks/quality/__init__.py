"""What quantising costs: variants, calibrations, and damage that must be noticed."""
