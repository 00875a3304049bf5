"""Training of one network from scratch."""
