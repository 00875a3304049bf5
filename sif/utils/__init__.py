"""What every package may use: device, randomness, environment, files that survive a crash."""
