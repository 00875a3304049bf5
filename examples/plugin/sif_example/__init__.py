"""A search method, a space and a loss for sif, each one file and one entry point."""
