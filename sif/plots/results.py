"""Models compared: their test metric with intervals, and validation against training time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sif.evaluation.metrics import higher_is_better
from sif.plots import lines as ends
from sif.plots.lines import Line
from sif.plots.rows import band, beside, embolden, ruled
from sif.plots.style import ACCENT, FONT, QUIET, REFERENCE, Drawing, better, clean, limits, message

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = tuple[str, float, float, float, bool]
"""Name, value, lower and upper bound of its interval, and whether the model is ours."""


@Drawing
def test_comparison(
    figure: Figure, rows: Sequence[Row], metric: str, *, reference: str | None = None
) -> None:
    """Draws every model's test metric as a dot on its interval, best on top.

    Args:
        figure: Is drawn on.
        rows: One per model; a value that is not finite gets no dot, and such bounds no line.
        metric: Name of the metric.
        reference: Name of the baseline that validation ranks best, against which the verdict is.
    """
    if not rows:
        message(figure, "No model was evaluated on the test part.")
        return
    sign = -1.0 if higher_is_better(metric) else 1.0
    ordered = sorted(rows, key=lambda r: (not np.isfinite(r[1]), sign * r[1], r[0]))
    axes = band(figure, [row[0] for row in ordered], 0.3)
    axes.set_xlim(*limits([], [v for r in ordered for v in r[1:4]])[:2])
    for place, row in enumerate(ordered):
        _draw_row(axes, place, row, row[0] == reference)
    _draw_reference(axes, ordered, reference)
    ruled(axes)
    bars = "; bars: 95 % interval" if any(np.isfinite(r[2:4]).all() for r in ordered) else ""
    axes.set_xlabel(f"test {clean(metric)} ({better(metric)}{bars})")


@Drawing
def validation_against_seconds(
    figure: Figure,
    series: Mapping[str, Sequence[tuple[float, float]]],
    metric: str,
    *,
    clock: str = "training time (seconds)",
    of: str = "",
) -> None:
    """Draws a validation metric against time.

    Args:
        figure: Is drawn on.
        series: Name to points (seconds since its training began, value); the first is emphasized.
        metric: Name of the metric.
        clock: Name of the kind of seconds.
        of: Behind the metric's name: what is judged, where that is not what is trained.
    """
    lines = []
    for index, (name, points) in enumerate(series.items()):
        table = np.array(sorted(points), dtype=np.float64).reshape(-1, 2)
        color, dashed = ends.colored(index)
        lines.append(Line(name, table[:, 0], table[:, 1], color, index == 0, dashed))
    lines = [line for line in lines if line.end is not None]
    if not lines:
        message(figure, "No validation was recorded.")
        return
    label = f"validation {clean(metric, 24)}{of} ({better(metric)})"
    axes = ends.over_time(figure, lines, [line.y for line in lines], clock, label)
    ends.draw(axes, lines)


def _draw_row(axes: Axes, place: int, row: Row, is_reference: bool) -> None:
    name, value, low, high, ours = row
    color = ACCENT if ours else REFERENCE if is_reference else QUIET
    if np.isfinite([low, high]).all():
        axes.plot([low, high], [place, place], color=color, linewidth=2.4 if ours else 1.4)
    axes.plot([value], [place], "o", color=color, markersize=8 if ours else 6, label=clean(name))
    if ours:
        embolden(axes, place)
    text = f"{value:.4f}" if np.isfinite(value) else "no value"
    beside(axes, place, text, "bold" if ours else "normal")


def _draw_reference(axes: Axes, rows: Sequence[Row], reference: str | None) -> None:
    values = [row[1] for row in rows if row[0] == reference and np.isfinite(row[1])]
    if not values:
        return
    axes.axvline(values[0], color=REFERENCE, linewidth=0.9, linestyle=(0, (3, 2)), zorder=1)
    low, high = axes.get_xlim()
    left_half = values[0] < (low + high) / 2
    axes.annotate(
        f"{clean(str(reference), 24)}: best baseline on validation", (values[0], 1),
        xycoords=("data", "axes fraction"), xytext=(0, 4), textcoords="offset points",
        ha="left" if left_half else "right", va="bottom", fontsize=FONT - 1, color=QUIET,
    )  # fmt: skip
