"""Exact top-k: the best items of any interaction function for many users, and neighbors."""
