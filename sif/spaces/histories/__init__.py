"""Recommenders that read histories: a reader of items in order, and an operation on top.

Here two spaces meet in one model, so that this package alone knows others: the cells of `rnn`, the
decays of `linear`, the operations of `interaction`.
"""
