"""Axes of grids: how a grid goes on where its best setting is at an end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Setting = Mapping[str, float | int]


@dataclass(frozen=True)
class Axis:
    """How a grid goes on along a parameter.

    Attributes:
        factor: Between neighbors.
        difference: Between neighbors, added after the factor.
        low: The lowest value that there is; a best setting there is not on an edge.
        high: The highest one.

    Example:
        >>> Axis(factor=2.0).beyond(50, up=False), Axis(difference=0.1, high=1.0).beyond(1.0, True)
        (25, None)
    """

    factor: float = 1.0
    difference: float = 0.0
    low: float = 0.0
    high: float = math.inf

    def beyond(self, value: float | int, up: bool) -> float | int | None:
        """The next value; None: there is none. Whole numbers stay whole."""
        if up:
            found = value * self.factor + self.difference
        else:
            found = value / self.factor - self.difference
        found = round(found) if isinstance(value, int) else round(found, 10)
        return found if self.low <= found <= self.high and found != value else None


def beyond_edges(
    axes: Mapping[str, Axis], grid: Sequence[Setting], tried: Sequence[Setting], best: Setting
) -> Iterator[tuple[str, Setting]]:
    """Parameters whose best value is at an end of the grid or beyond, each with the next setting.

    Settings that were tried are left out.

    Args:
        axes: Name to axis, of parameters that can go on.
        grid: Whose ends are meant; settings with other parameters than the best do not count.
        tried: All settings so far.
        best: The one that validation ranks first.

    Example:
        >>> grid = [{"l2": 50.0}, {"l2": 100.0}, {"l2": 200.0}]
        >>> list(beyond_edges({"l2": Axis(factor=2.0)}, grid, grid, grid[2]))
        [('l2', {'l2': 400.0})]
        >>> list(beyond_edges({"l2": Axis(factor=2.0)}, grid, grid, grid[1]))
        []
    """
    alike = [one for one in grid if one.keys() == best.keys()]
    for name in (name for name in axes if name in best):
        values = [one[name] for one in alike]
        for up, is_end in ((True, best[name] >= max(values)), (False, best[name] <= min(values))):
            following = axes[name].beyond(best[name], up)
            if is_end and following is not None and {**best, name: following} not in tried:
                yield name, {**best, name: following}
