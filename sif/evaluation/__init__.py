"""Metrics of a split, scorers, and comparisons that survive a referee."""
