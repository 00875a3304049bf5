"""The job on cells, of images and of text."""
