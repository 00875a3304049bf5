"""The rows of users in their order, and scorers that read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sif.data.interactions.interactions import Interactions
from sif.spaces.linear.sequences import Sequences

Reader = Callable[[Sequences], sp.csr_matrix]
"""Inputs of an item-item model, CSR (n_users, s * n_items), from histories."""


@runtime_checkable
class HistoryReader(Protocol):
    """Scores users by what they have, which grows after a fit."""

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of all items for users (b,): (b, n_items), higher is better."""
        ...

    def knowing(self, rows: Interactions) -> HistoryReader:
        """The same model where users have these rows alone."""
        ...


def sequences_of(rows: Interactions) -> Sequences:
    """The histories of all users in their order.

    Raises:
        DataError: Nothing tells the order.
    """
    order = rows.order
    users, items = rows.ids[order, 0], rows.ids[order, 1]
    seconds = seconds_of(rows)
    times = None if seconds is None else seconds[order]
    n_users, n_items = rows.sizes[:2]
    return Sequences.of(users, items, (n_users, n_items), np.arange(len(order)), times)


def seconds_of(rows: Interactions) -> NDArray[np.int64] | None:
    """(n,) time of each row; None where the places of rows say what came first."""
    return rows.timestamp if rows.place is None else None
