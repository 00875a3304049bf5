"""The search loop: runs a method of `sif.methods` on a space, within a budget, with a history.

`loop` runs methods that share weights, `candidates` runs samplers, which train every candidate by
that loop. The training of the result from scratch is in `sif.training`.
"""
