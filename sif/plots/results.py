"""How models compare: their test metric with intervals, and validation against training time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sif.evaluation.metrics import higher_is_better as is_higher_better
from sif.plots import lines as ends
from sif.plots.lines import Line
from sif.plots.style import (
    ACCENT,
    FAINT,
    FONT,
    INK,
    QUIET,
    REFERENCE,
    Sheet,
    clean,
    inside,
    limits,
    message,
    text_width,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = tuple[str, float, float, float, bool]
"""Name, value, lower and upper bound of its interval, and whether the model is ours."""

# Inches.
_ROW, _BAND = 0.3, 4.2


def test_comparison(
    rows: Sequence[Row],
    metric: str,
    higher_is_better: bool,
    path: Path,
    *,
    reference: str | None = None,
) -> None:
    """Draws every model's test metric as a dot on its interval, best on top.

    Args:
        rows: One per model, all in the unit of the metric. A value that is not finite is listed
            without a dot, bounds that are not finite are left out.
        metric: Name of the metric.
        higher_is_better: Its direction.
        path: PNG to write.
        reference: Name of the baseline that validation ranks best, against which the verdict is.
    """
    write(lambda: build_comparison(rows, metric, higher_is_better, reference), path)


def validation_against_seconds(
    series: Mapping[str, Sequence[tuple[float, float]]],
    metric: str,
    path: Path,
    *,
    clock: str = "training time (seconds)",
    of: str = "",
) -> None:
    """Draws a validation metric against time.

    Args:
        series: Name to points (seconds since its training began, value); the first is emphasized.
        metric: Name of the metric.
        path: PNG to write.
        clock: What the seconds are.
        of: Behind the metric's name: what is judged, where that is not what is trained.
    """
    write(lambda: build_validation(series, metric, clock, of), path)


def build_comparison(
    rows: Sequence[Row], metric: str, higher_is_better: bool, reference: str | None
) -> Figure:
    """The figure of `test_comparison`."""
    if not rows:
        return message("No model was evaluated on the test part.")
    sign = -1.0 if higher_is_better else 1.0
    ordered = sorted(rows, key=lambda r: (not np.isfinite(r[1]), sign * r[1], r[0]))
    left = max(text_width([clean(r[0]) for r in ordered]) + 0.35, 1.0)
    top, below, right = 0.42 if reference else 0.15, 0.62, 0.95
    height = _ROW * len(ordered) + 0.1
    sheet = Sheet(left + _BAND + right, top + height + below)
    axes = sheet.axes(left, top, _BAND, height)
    numbers = [v for r in ordered for v in r[1:4]]
    axes.set_xlim(*limits([], numbers)[:2])
    axes.set_ylim(len(ordered) - 0.5 + 0.05 / _ROW, -0.5 - 0.05 / _ROW)
    for place, row in enumerate(ordered):
        _draw_row(axes, place, row, row[0] == reference)
    _draw_reference(axes, ordered, reference)
    _dress(axes)
    direction = "higher" if higher_is_better else "lower"
    bars = "; bars: 95 % interval" if any(np.isfinite(r[2:4]).all() for r in ordered) else ""
    axes.set_xlabel(f"test {clean(metric)} ({direction} is better{bars})")
    return sheet.figure


def build_validation(
    series: Mapping[str, Sequence[tuple[float, float]]],
    metric: str,
    clock: str = "training time (seconds)",
    of: str = "",
) -> Figure:
    """The figure of `validation_against_seconds`."""
    lines = []
    for index, (name, points) in enumerate(series.items()):
        table = np.array(sorted(points), dtype=np.float64).reshape(-1, 2)
        color, dashed = ends.colored(index)
        lines.append(Line(name, table[:, 0], table[:, 1], color, index == 0, dashed))
    lines = [line for line in lines if line.end is not None]
    if not lines:
        return message("No validation was recorded.")
    left, width, top, height, below = 0.85, 4.8, 0.3, 3.0, 0.6
    height = max(height, ends.LABEL_STEP * len(lines))
    sheet = Sheet(left + width + ends.margin([n.name for n in lines]), top + height + below)
    axes = sheet.axes(left, top, width, height)
    last = max(float(np.nanmax(line.x)) for line in lines)
    axes.set_xlim(0, last * 1.02 or 1.0)
    low, high, cut = limits([n.y for n in lines], [n.end[1] for n in lines if n.end])
    axes.set_ylim(low, high)
    ends.draw(axes, lines)
    ends.name_ends(axes, lines)
    axes.set_xlabel(clock)
    direction = "higher" if is_higher_better(metric) else "lower"
    axes.set_ylabel(f"validation {clean(metric, 24)}{of} ({direction} is better)")
    if cut:
        inside(axes, 0.99, 1.01, "axis cut: a few values lie beyond", ha="right", va="bottom")
    return sheet.figure


def _draw_row(axes: Axes, place: int, row: Row, is_reference: bool) -> None:
    name, value, low, high, ours = row
    color = ACCENT if ours else REFERENCE if is_reference else QUIET
    if np.isfinite([low, high]).all():
        axes.plot([low, high], [place, place], color=color, linewidth=2.4 if ours else 1.4)
    axes.plot([value], [place], "o", color=color, markersize=8 if ours else 6, label=clean(name))
    weight = "bold" if ours else "normal"
    axes.annotate(
        clean(name), (0, place), xycoords=("axes fraction", "data"), xytext=(-10, 0),
        textcoords="offset points", ha="right", va="center", fontsize=FONT, fontweight=weight,
        color=INK,
    )  # fmt: skip
    axes.annotate(
        f"{value:.4f}" if np.isfinite(value) else "no value", (1, place),
        xycoords=("axes fraction", "data"), xytext=(10, 0), textcoords="offset points",
        va="center", fontsize=FONT, fontweight=weight, color=INK,
    )  # fmt: skip


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


def _dress(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
