"""Walks over grids of numbers, as far as they get better."""

from __future__ import annotations


class Climb:
    """A walk over a grid, up to the first place that is better than both of its neighbors.

    Args:
        grid: Ascending.
        first: Where it starts, one of the grid.
    """

    def __init__(self, grid: tuple[float, ...], first: float) -> None:
        self._grid, self._values = grid, dict[int, float]()
        self._place = self._best = grid.index(first)

    @property
    def best(self) -> float:
        """The best value so far."""
        return self._grid[self._best]

    @property
    def merit(self) -> float:
        """Of the best value so far."""
        return self._values[self._best]

    def next(self) -> float | None:
        """The next value to try; None: the walk is over."""
        if not self._values:
            return self._grid[self._place]
        for place in (self._best + 1, self._best - 1):
            if 0 <= place < len(self._grid) and place not in self._values:
                self._place = place
                return self._grid[place]
        return None

    def tell(self, merit: float) -> bool:
        """Takes the merit of the last value; True if it is the best so far."""
        better = not self._values or merit > self._values[self._best]
        self._values[self._place] = merit
        if better:
            self._best = self._place
        return better
