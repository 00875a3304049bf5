"""Metrics of rankings and ratings, scores of models, cold users, and paired comparisons."""
