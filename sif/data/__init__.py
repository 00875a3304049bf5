"""Data of every kind: interactions, images, text."""
