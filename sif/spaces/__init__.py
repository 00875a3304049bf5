"""Search spaces with their networks: interaction functions and their losses, cells of CNN and RNN.

They are supernets behind one protocol (`sif.core.space.Space`).
"""
