"""Repeated keys, and rows of users taken in turn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sif.data.interactions.clean import _repeated
from sif.data.interactions.parts import rows_of_users


@given(st.lists(st.sampled_from([0, 1, 2, 3, 2**40, -5, 2**61, -(2**61)]), min_size=1))
def test_repeated_keys_are_those_that_occur_again(keys: list[int]) -> None:
    found = _repeated(np.array(keys))
    assert found.tolist() == [n for n, key in enumerate(keys) if keys.count(key) > 1]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(1, 70))
def test_users_in_turn_are_whole_and_in_order(users: list[int], most: int) -> None:
    numbers = np.array(users, dtype=np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sif.data.interactions.interactions._ROWS", 7)
        turns = [np.arange(len(users))[rows] for rows in rows_of_users(numbers, most)]
    assert sorted(np.concatenate(turns).tolist()) == list(range(len(users)))
    met = [set(numbers[rows].tolist()) for rows in turns]
    assert sum(map(len, met)) == len(set(users))
    for rows in turns:
        assert (np.diff(rows) > 0).all()
        largest = np.bincount(numbers[rows]).max()
        assert len(rows) < most + largest or len(turns) == 1
