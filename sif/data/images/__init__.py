"""Labeled images: CIFAR, folders and archives are read, split, augmented and streamed."""
