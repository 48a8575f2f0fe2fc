"""Models that are trained where they are needed, from data that a library carries: one file per recipe."""
