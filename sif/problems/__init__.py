"""A space on train and validation data: how to search, train and test on it.

Interactions, images and text are behind one protocol, `sif.problems.base.Problem`. The loops that
it calls are in `sif.search` and `sif.training`; `sif.tasks` makes jobs of problems.
"""
