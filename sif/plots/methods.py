"""Search methods compared over seeds: validation against time, test metric of their picks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sif.evaluation.metrics import higher_is_better
from sif.plots import lines as ends
from sif.plots.lines import Line
from sif.plots.rows import band, beside, ruled
from sif.plots.style import Drawing, Floats, better, clean, limits, message

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = Mapping[str, Sequence[Sequence[tuple[float, float]]]]
"""Method to one curve per seed, of (seconds, best value so far), ascending in time."""
PointRow = tuple[str, Sequence[float], float, float, float]
"""Method, its value per seed, their mean, and the bounds of the mean's interval."""


@Drawing
def anytime_curves(figure: Figure, curves: Curves, metric: str, *, clock: str) -> None:
    """Draws the best judged so far against time: the mean of each method, and thin its seeds.

    A method without points is left out. The metric judges; the clock says what the seconds are.
    """
    means = []
    for index, (name, seeds) in enumerate(curves.items()):
        table = mean_curve(seeds)
        color, dashed = ends.colored(index)
        means.append(Line(name, table[:, 0], table[:, 1], color, dashed=dashed))
    means = [line for line in means if line.end is not None]
    if not means:
        message(figure, "No search was judged by validation on its way.")
        return
    every = [np.array(c, dtype=np.float64) for seeds in curves.values() for c in seeds if len(c)]
    label = f"best validation {clean(metric, 18)} so far ({better(metric)})"
    axes = ends.over_time(figure, means, [table[:, 1] for table in every], clock, label)
    for line in means:
        _draw_method(axes, line, curves[line.name])


@Drawing
def method_points(figure: Figure, rows: Sequence[PointRow], metric: str) -> None:
    """Draws the test metric of every method: a dot per seed, beneath the mean with its interval.

    Rows are in the order in which colors are dealt, that of `anytime_curves`; drawn best on top.
    Bounds that are not finite are left out, and so are methods without a value.
    """
    colored = [(row, ends.colored(index)[0]) for index, row in enumerate(rows)]
    shown = sorted(
        [(row, color) for row, color in colored if np.isfinite(row[2])],
        key=lambda pair: -pair[0][2] if higher_is_better(metric) else pair[0][2],
    )
    if not shown:
        message(figure, "No method was evaluated on the test part.")
        return
    axes = band(figure, [row[0] for row, _ in shown], 0.42)
    # Points stay visible; the interval of two seeds may be wider than is worth showing.
    points = [value for row, _ in shown for value in (*row[1], row[2])]
    low, high, cut = limits([row[3:5] for row, _ in shown], points)
    axes.set_xlim(low, high)
    for place, (row, color) in enumerate(shown):
        _draw_points(axes, place, row, color)
    ruled(axes)
    bar = "; bar: 95 % of the mean" if any(np.isfinite(row[3]) for row, _ in shown) else ""
    axes.set_xlabel(
        f"test {clean(metric)} ({better(metric)}; dots: seeds{bar})"
        + ("\naxis cut: some intervals go on beyond" if cut else "")
    )


def mean_curve(curves: Sequence[Sequence[tuple[float, float]]]) -> Floats:
    """Mean (n, 2) of step functions from where all have begun, at every time at which one steps.

    Their points (seconds, value) are ascending in time; a value holds until the next, and the last
    one for good. Empty curves do not count.
    """
    tables = [np.array(curve, dtype=np.float64) for curve in curves if len(curve)]
    if not tables:
        return np.empty((0, 2))
    start = max(table[0, 0] for table in tables)
    times = np.unique(np.concatenate([table[:, 0] for table in tables]))
    times = times[times >= start]
    held = [t[np.searchsorted(t[:, 0], times, side="right") - 1, 1] for t in tables]
    return np.column_stack([times, np.mean(held, axis=0)])


def _draw_method(axes: Axes, mean: Line, seeds: Sequence[Sequence[tuple[float, float]]]) -> None:
    style = (0, (4, 2)) if mean.dashed else "-"
    if len(seeds) > 1:
        for curve in filter(len, seeds):
            axes.plot(
                *np.array(curve, dtype=np.float64).T, drawstyle="steps-post", color=mean.color,
                linewidth=0.8, alpha=0.4, linestyle=style, zorder=2,
                marker="o" if len(curve) == 1 else "", markersize=3,
            )  # fmt: skip
    axes.plot(
        mean.x, mean.y, drawstyle="steps-post", color=mean.color, linewidth=2.2, linestyle=style,
        zorder=3, marker="o" if len(mean.x) == 1 else "", markersize=5, label=clean(mean.name),
    )  # fmt: skip


def _draw_points(axes: Axes, place: int, row: PointRow, color: str) -> None:
    name, values, mean, low, high = row
    above, beneath = place - 0.14, place + 0.2
    if np.isfinite([low, high]).all():
        axes.plot([low, high], [above, above], color=color, linewidth=2.0, zorder=3)
    axes.plot([mean], [above], "D", color=color, markersize=6, zorder=4, label=clean(name))
    axes.plot(
        values, np.full(len(values), beneath), "o", markersize=4.5, zorder=3,
        markerfacecolor="none", markeredgecolor=color, markeredgewidth=1.0,
    )  # fmt: skip
    beside(axes, place, f"{mean:.4f}")
