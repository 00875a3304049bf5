"""Tools for every package: device, randomness, environment, files that survive a crash."""
