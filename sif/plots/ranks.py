"""Models by their average rank over data sets, with intervals that tell who differs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sif.plots.rows import band, beside, embolden, ruled
from sif.plots.style import ACCENT, INK, QUIET, SHADE, Drawing, clean, message

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONG = 72  # characters of a line beneath the axis


@dataclass(frozen=True)
class RankRow:
    """A model.

    Attributes:
        name: Its name.
        ranks: One per data set, 1 the best.
        mean: Their mean.
        low: Lower end of the interval; NaN: there is none.
        high: Upper end.
    """

    name: str
    ranks: Sequence[float]
    mean: float
    low: float
    high: float


@Drawing
def average_ranks(figure: Figure, rows: Sequence[RankRow], data: int, meaning: str) -> None:
    """Draws average ranks, best on top: a diamond on its interval, and a dot per data set.

    The interval of the best is shaded through all rows: whose interval lies outside differs.

    Args:
        figure: The page.
        rows: The models, the best first.
        data: Number of data sets.
        meaning: What the intervals mean, beneath the axis.
    """
    if not rows:
        message(figure, "No two models were tested on all data sets.")
        return
    axes = band(figure, [row.name for row in rows], 0.34)
    ends = [end for row in rows for end in (row.low, row.high) if np.isfinite(end)]
    lowest, highest = min([1.0, *ends]), max([float(len(rows)), *ends])
    air = 0.03 * (highest - lowest)
    axes.set_xlim(lowest - air, highest + air)
    best = rows[0]
    if np.isfinite([best.low, best.high]).all():
        axes.axvspan(best.low, best.high, color=SHADE, zorder=0, linewidth=0)
    for place, row in enumerate(rows):
        _draw(axes, place, row, overlaps(best, row))
    ruled(axes)
    axes.set_xticks(range(1, len(rows) + 1, 1 + len(rows) // 13))
    embolden(axes, 0)
    which = f"average rank over {data} data sets" if data > 1 else "rank on one data set"
    dots = "; dots: data sets" if data > 1 else ""
    told = textwrap.fill(clean(meaning, 300), _LONG)
    axes.set_xlabel(f"{which} (1 is best{dots})\n{told}".rstrip())


def overlaps(best: RankRow, row: RankRow) -> bool:
    """True where the intervals of both meet, or one has none."""
    ends = [best.low, best.high, row.low, row.high]
    return not np.isfinite(ends).all() or (row.low <= best.high and best.low <= row.high)


def _draw(axes: Axes, place: int, row: RankRow, is_near: bool) -> None:
    color = ACCENT if is_near else QUIET
    if np.isfinite([row.low, row.high]).all():
        axes.plot([row.low, row.high], [place, place], color=color, linewidth=2.0, zorder=3)
    if len(row.ranks) > 1:
        axes.plot(
            row.ranks, np.full(len(row.ranks), place + 0.26), "o", markersize=3.2, zorder=3,
            markerfacecolor="none", markeredgecolor=color, markeredgewidth=0.9,
        )  # fmt: skip
    axes.plot([row.mean], [place], "D", color=color, markersize=5.5, zorder=4)
    beside(axes, place, f"{row.mean:.2f}")
    axes.get_yticklabels()[place].set_color(INK if is_near else QUIET)
