"""Metrics of a split, scorers, and paired comparisons."""
