"""The best items of any function for many users, exact or by a graph of items; neighbors."""
