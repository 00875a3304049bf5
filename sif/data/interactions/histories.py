"""Users' items in their order as padded columns, and endless batches of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sif.core.space import Batch
from sif.data.interactions.columns import Int64Array

GROUP = 16
"""Batches whose users are sorted by length together: little padding, and yet other batches in every
pass."""

Make = Callable[[Tensor, int], Batch]
"""Histories (steps, batch), padded at their end, and the number of the batch, to a batch."""


def last_items(
    items: Int64Array, starts: Int64Array, users: Int64Array, length: int, padding: int = -1
) -> Tensor:
    """The last items of users, the earliest first.

    Args:
        items: (n,) items of all users, one user after the other, each in order.
        starts: (n_users + 1,) first place of every user.
        users: (b,) users to read.
        length: Items of each at most.
        padding: Behind the last item of each.

    Returns:
        (steps, b) int64, one step at least.
    """
    ends = starts[users + 1]
    first = np.maximum(starts[users], ends - length)
    steps = max(1, int((ends - first).max(initial=0)))
    places = first + np.arange(steps)[:, None]
    inside = places < ends
    found = np.full(places.shape, padding)
    found[inside] = items[places[inside]]
    return torch.from_numpy(found)


class HistoryStream:
    """Endless batches of users' histories, every user once per pass.

    Args:
        items: See `last_items`.
        starts: See `last_items`.
        users: (m,) users of the stream.
        columns: Users of a batch, fewer in the last one of a pass.
        length: Items of a history at most, the last ones.
        generator: On the CPU; draws orders.
        make: Puts histories, on the CPU, into a batch.
        padding: Behind the last item of each history.
    """

    def __init__(
        self, items: Int64Array, starts: Int64Array, users: Int64Array, columns: int, length: int,
        generator: torch.Generator, make: Make, padding: int = -1,
    ) -> None:  # fmt: skip
        self._items, self._starts, self._users = items, starts, users
        self._lengths = np.minimum(np.diff(starts)[users], length)
        self._columns, self._length = columns, length
        self._generator, self._make = generator, make
        self._padding = padding
        self._before = generator.get_state()
        self._batches: list[Int64Array] = []
        self._cursor = self._number = 0

    @property
    def steps_per_pass(self) -> int:
        """Batches in one pass over the users."""
        return -(-len(self._users) // self._columns)

    def next(self) -> Batch:
        """The next batch."""
        if self._cursor == len(self._batches):
            self._before = self._generator.get_state()
            self._batches, self._cursor = self._drawn(), 0
        rows = self._batches[self._cursor]
        self._cursor += 1
        self._number += 1
        users = self._users[rows]
        found = last_items(self._items, self._starts, users, self._length, self._padding)
        return self._make(found, self._number)

    def _drawn(self) -> list[Int64Array]:
        """Batches of users of like lengths, in random order."""
        order = torch.randperm(len(self._users), generator=self._generator).numpy()
        group, batches = GROUP * self._columns, list[Int64Array]()
        for start in range(0, len(order), group):
            rows = order[start : start + group]
            rows = rows[np.argsort(self._lengths[rows], kind="stable")]
            batches += np.split(rows, range(self._columns, len(rows), self._columns))
        turns = torch.randperm(len(batches), generator=self._generator).tolist()
        return [batches[turn] for turn in turns]

    def state_dict(self) -> dict[str, Any]:
        """The state that decides the batches to come."""
        state = self._before if self._batches else self._generator.get_state()
        return {"generator": state, "cursor": self._cursor, "number": self._number}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self._generator.set_state(state["generator"])
        self._before, self._batches = state["generator"], []
        if state["number"]:
            self._batches = self._drawn()
        self._cursor, self._number = state["cursor"], state["number"]
