"""Walks over grids."""

from __future__ import annotations

import pytest

from sif.utils.climb import Climb


@pytest.mark.parametrize("grid", [(1.0, 2.0, 4.0, 8.0, 16.0)])
def test_a_climb_ends_between_worse_neighbors(grid: tuple[float, ...]) -> None:
    for top in range(5):
        for first in grid:
            climb, tried = Climb(grid, first), []
            while (value := climb.next()) is not None:
                tried.append(value)
                climb.tell(-abs(grid.index(value) - top))
            assert grid[top] in tried and len(set(tried)) == len(tried)
            assert len(tried) <= abs(grid.index(first) - top) + 3
