"""Interaction functions: operations, transforms (P and Q), encoders, training losses, supernets.

`losses` has the loss of a pair, `registry` the names of all losses and spaces.
"""
