"""Coverage and Gini against hand-computed cases, the mean absolute difference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sif.evaluation.beyond import coverage, gini

N_ITEMS = 6


def test_hand_computed_lists() -> None:
    lists = [[0, 1], [0, 2], [0, -1]]
    assert coverage(lists, 4) == 0.75
    # Exposures 3, 1, 1, 0: sorted 0, 1, 1, 3 with weights -3, -1, 1, 3 give 9 / (4 * 5).
    assert gini(lists, 4) == pytest.approx(9 / 20)


def test_nothing_is_shown() -> None:
    assert coverage([[-1, -1]], 3) == 0.0
    assert gini([[-1, -1]], 3) == 0.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.permutations(range(N_ITEMS)), min_size=1, max_size=8))
def test_gini_is_half_the_relative_mean_difference(orders: list[list[int]]) -> None:
    lists = np.array(orders)[:, :3]
    shown = np.bincount(lists.ravel(), minlength=N_ITEMS)
    differences = np.abs(shown[:, None] - shown[None, :]).mean()
    assert gini(lists, N_ITEMS) == pytest.approx(differences / (2 * shown.mean()))
