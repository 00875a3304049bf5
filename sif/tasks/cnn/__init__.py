"""Cells for images."""
