"""Splits that keep items or users out of train."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sif.data.interactions import make_split, read_frame
from sif.data.interactions.load import Dataset
from sif.errors import DataError


def dataset(users: int = 60, items: int = 50, timed: bool = True) -> Dataset:
    draws = np.random.default_rng(0)
    pairs = np.argwhere(draws.random((users, items)) < 0.3)
    frame = pd.DataFrame({"user": pairs[:, 0], "item": pairs[:, 1]})
    if timed:
        frame["timestamp"] = draws.integers(0, 10**6, len(frame))
    rows = read_frame(frame)
    return Dataset("d", rows, rows.content_hash)


@pytest.mark.parametrize("suffix", ["", "-time"])
@pytest.mark.parametrize(("field", "what"), [(0, "users"), (1, "items")])
def test_a_fifth_and_a_tenth_of_the_ids_are_in_one_part_alone(
    field: int, what: str, suffix: str
) -> None:
    data = dataset()
    split = make_split(data, f"cold-{what}{suffix}", 0)
    n = data.interactions.sizes[field]
    known, valid, test = (
        set(part.ids[:, field]) for part in (split.train, split.valid, split.test)
    )
    new = test - known - valid
    assert (len(new), len(valid - known - test)) == (n // 5, n // 10)
    others = [row for row in split.interactions.ids[:, field] if row in known]
    held = sum(row in known for row in split.test.ids[:, field])
    assert held == pytest.approx(len(others) / 10, rel=0.4)
    assert f"new {what}" in split.notes[0]
    if suffix:
        moment = split.interactions.timestamp
        assert moment is not None
        first = [moment[split.interactions.ids[:, field] == one].min() for one in range(n)]
        assert min(first[one] for one in new) >= max(first[one] for one in known)


def test_draws_are_of_the_seed_and_no_time_is_no_order() -> None:
    data = dataset(timed=False)
    one, same, other = (make_split(data, "cold-items", seed) for seed in (0, 0, 1))
    assert one.hash == same.hash != other.hash
    with pytest.raises(DataError, match="cold-items-time expects a timestamp column"):
        make_split(data, "cold-items-time", 0)
    with pytest.raises(DataError, match="expected at least 10 items, found 4"):
        make_split(dataset(30, 4), "cold-items", 0)
