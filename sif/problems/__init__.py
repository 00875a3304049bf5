"""Spaces on data: interactions, images and text behind one protocol."""
