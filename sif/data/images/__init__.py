"""Labeled images: read, split, augmented, streamed."""
