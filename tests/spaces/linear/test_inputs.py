"""Items that are solved for: all of a small catalog, the frequent ones of a large one."""

from __future__ import annotations

import numpy as np
import pytest

from sif.spaces.linear.inputs import MAX_SIDE, most_scales, most_solved, solved_items
from sif.spaces.linear.ridge import Sizes, solution_sizes


def test_all_items_of_a_small_catalog_are_solved_for() -> None:
    counts = np.zeros(MAX_SIDE // 3, dtype=np.int64)
    assert solved_items(counts, 3) is None and most_scales(counts) == 3
    assert solution_sizes(counts, 2) == Sizes(5000, 2, 5000)


def test_the_frequent_items_of_a_large_one_are_solved_for() -> None:
    counts = np.full(12_000, 49)
    counts[[7, 3, 11_999]] = 50, 200, 51
    assert solved_items(counts, 1).tolist() == [3, 7, 11_999]  # type: ignore[union-attr]
    assert solution_sizes(counts, 3) == Sizes(3, 3, 12_000)


@pytest.mark.parametrize(("n_items", "scales"), [(6_000, 3), (20_000, 1), (60_000, 2)])
def test_no_more_than_fits(n_items: int, scales: int) -> None:
    counts = np.arange(n_items) + 50
    found = solved_items(counts, scales)
    assert found is not None
    size = Sizes(len(found), scales, n_items)
    assert size.side <= MAX_SIDE and size.side * n_items <= MAX_SIDE**2
    assert len(found) == most_solved(n_items, scales)
    assert counts[found].min() == n_items + 50 - len(found)  # the most frequent ones


def test_scales_leave_room_for_half_of_the_frequent_items() -> None:
    few, many = np.zeros(40_000, dtype=np.int64), np.full(40_000, 50)
    few[:3000] = 50
    assert most_solved(40_000, 3) == 1875 and most_scales(few) == 3  # 1,500 are enough
    few[3000:5000] = 50
    assert most_scales(few) == 2  # 2,500 are needed, 2,812 fit
    assert most_scales(many) == 1
    assert len(solved_items(np.ones(10**6, dtype=np.int64), 1)) == 1  # type: ignore[arg-type]


def test_operations_by_hand() -> None:
    assert Sizes(10, 2, 30).operations == pytest.approx(20**3 / 3 + 2 * 20**2 * 30)
