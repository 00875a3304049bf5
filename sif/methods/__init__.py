"""Search methods, a file for each published one, with its settings: NASP, DARTS, SNAS, TPE, ...

They choose gates or selections (`sif.core.method`). NASP's projection is in `sif.core.proximal`,
and the loop that runs a method in `sif.search`.
"""
