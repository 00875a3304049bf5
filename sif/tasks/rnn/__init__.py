"""Cells for text."""
