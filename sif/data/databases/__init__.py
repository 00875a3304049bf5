"""Databases as sources of records and places for recommendations; the extra `sql` has drivers."""
