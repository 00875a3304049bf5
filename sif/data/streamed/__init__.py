"""Interactions beyond memory: read once, piece by piece, into files that are mapped."""
