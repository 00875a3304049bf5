"""Recommenders behind the interfaces of other libraries."""
