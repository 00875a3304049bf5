"""Interaction functions: operations, encoders, losses, and the supernets that are searched."""
