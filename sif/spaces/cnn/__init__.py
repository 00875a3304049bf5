"""Cells of convolutional networks: operations, supernet, and networks of given cells."""
