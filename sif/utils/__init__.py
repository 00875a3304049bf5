"""Tools for every package: device, random numbers, checkpoints, registries, optional libraries."""
