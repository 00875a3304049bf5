"""Models by two objectives: what validation chose among, and the front of those that none beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sif.plots.style import (
    ACCENT,
    FAINT,
    FONT,
    PALETTE,
    QUIET,
    REFERENCE,
    SHADE,
    Drawing,
    better,
    clean,
    few_ticks,
    legend,
    limits,
    message,
    panel,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = "osD^vPX"
"""Forms of points, each in all colors before the next."""
_WIDTH, _HEIGHT, _APART = 4.4, 3.0, 0.75


@dataclass(frozen=True)
class Bounded:
    """A metric that has a bound.

    Attributes:
        metric: Its name.
        low, high: What it has to keep; infinite: there is no such bound.
    """

    metric: str
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True)
class FrontPoint:
    """A model.

    Attributes:
        name: Of the model.
        value: Of the metric that is to be the best.
        others: Values of the metrics with bounds, in their order.
        served: Whether it is the one.
        undominated: Of each of these metrics, whether no other model beats it in that one and in
            the metric that is to be the best.
    """

    name: str
    value: float
    others: Sequence[float]
    served: bool
    undominated: Sequence[bool]


@Drawing
def objective_front(
    figure: Figure, points: Sequence[FrontPoint], metric: str, bounded: Sequence[Bounded]
) -> None:
    """Draws models by two objectives, below one another for each metric that has a bound.

    Args:
        figure: Is drawn on.
        points: The models; those with a value that is not finite are left out.
        metric: That is to be the best.
        bounded: Metrics with bounds; what breaks these is shaded.
    """
    shown = [p for p in points if np.isfinite([p.value, *p.others]).all()]
    if not shown or not bounded:
        message(figure, "No models were compared by several objectives.")
        return
    for number, one in enumerate(bounded):
        axes = panel(figure, _WIDTH, _HEIGHT, top=number * (_HEIGHT + _APART))
        _draw(axes, shown, metric, one, number)
        if number == 0:
            legend(axes, right=True, labelspacing=0.7)


def _draw(axes: Axes, points: Sequence[FrontPoint], metric: str, one: Bounded, number: int) -> None:
    """A panel of one metric with a bound."""
    ends = [end for end in (one.low, one.high) if np.isfinite(end)]
    low, high, _ = limits([], [*(p.others[number] for p in points), *ends])
    axes.set_xlim(low, high)
    axes.set_ylim(*limits([], [p.value for p in points])[:2])
    for start, stop, end in ((low, one.low, one.low), (one.high, high, one.high)):
        if np.isfinite(end):
            axes.axvspan(start, stop, color=SHADE, linewidth=0, zorder=0)
            axes.axvline(end, color=REFERENCE, linewidth=0.9, linestyle=(0, (3, 2)), zorder=1)
    front = sorted((p.others[number], p.value) for p in points if p.undominated[number])
    axes.plot(*np.array(front).reshape(-1, 2).T, color=QUIET, linewidth=1.0, zorder=2)
    for index, point in enumerate(points):
        color, mark = PALETTE[index % len(PALETTE)], MARKS[index // len(PALETTE) % len(MARKS)]
        name = clean(point.name + (" (served)" if point.served else ""))
        axes.plot(
            [point.others[number]], [point.value], mark, color=color, label=name, zorder=3,
            markersize=9 if point.served else 6, markeredgewidth=1.6 if point.served else 0.0,
            markeredgecolor=ACCENT,
        )  # fmt: skip
    few_ticks(axes, x=5, y=5)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"validation {clean(one.metric)} (shaded: breaks the bound)")
    axes.set_ylabel(f"validation {clean(metric, 24)}\n({better(metric)})", fontsize=FONT)
