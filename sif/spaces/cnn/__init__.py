"""Cells of convolutional networks."""
