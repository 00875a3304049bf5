"""Histories as padded columns: each user's last items, every user once per pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sif.data.interactions.histories import HistoryStream, last_items

ITEMS = np.array([7, 1, 2, 3, 4, 5, 9, 8])
STARTS = np.array([0, 1, 1, 6, 8])  # users of 1, 0, 5 and 2 items


def test_last_items_are_the_latest_of_each_user_in_their_order() -> None:
    found = last_items(ITEMS, STARTS, np.array([2, 0, 1, 3]), length=3)
    assert found.T.tolist() == [[3, 4, 5], [7, -1, -1], [-1, -1, -1], [9, 8, -1]]
    assert last_items(ITEMS, STARTS, np.array([1]), length=3).tolist() == [[-1]]
    assert last_items(ITEMS, STARTS, np.array([2]), 9)[:, 0].tolist() == [1, 2, 3, 4, 5]


def stream(users: int, columns: int, seed: int = 0) -> HistoryStream:
    """Users of 2 to 9 items, of which each has its own number."""
    lengths = np.random.default_rng(0).integers(2, 10, users)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    items = np.repeat(np.arange(users), lengths)
    draws = torch.Generator().manual_seed(seed)

    def make(histories: Tensor, number: int) -> tuple[Tensor, int]:
        return histories, number

    return HistoryStream(items, starts, np.arange(users), columns, 6, draws, make)


def read(batches: HistoryStream, n: int) -> list[Any]:
    return [(found.tolist(), number) for found, number in (batches.next() for _ in range(n))]


def test_a_pass_has_every_user_once_in_another_order_than_the_next() -> None:
    batches = stream(users=50, columns=8)
    assert batches.steps_per_pass == 7
    passes = [
        [found[0][0].tolist() for found in (batches.next() for _ in range(7))] for _ in range(2)
    ]
    for one in passes:
        assert sorted(user for users in one for user in users) == list(range(50))
    assert passes[0] != passes[1]


def test_users_of_a_batch_have_like_lengths() -> None:
    batches = stream(users=400, columns=8)
    histories = [batches.next()[0] for _ in range(50)]
    padded = sum(int((h < 0).sum()) for h in histories) / sum(h.numel() for h in histories)
    assert padded < 0.05


def test_a_stream_goes_on_where_it_was_saved() -> None:
    for taken in (0, 3, 7, 9):
        whole, first, second = stream(50, 8), stream(50, 8), stream(50, 8, seed=5)
        read(whole, taken), read(first, taken)
        second.load_state_dict(first.state_dict())
        assert read(second, 20) == read(whole, 20)
