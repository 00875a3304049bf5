"""Data of every kind, read, split and streamed: interactions (MovieLens), images (CIFAR), text."""
