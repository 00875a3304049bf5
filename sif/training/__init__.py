"""The training loop of one network from scratch, optimizers, and averages of weights."""
