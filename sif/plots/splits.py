"""How a split lies in time, and how models do on the groups of users that it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sif.evaluation.metrics import higher_is_better
from sif.plots.style import (
    ACCENT,
    FAINT,
    FONT,
    INK,
    PALETTE,
    QUIET,
    REFERENCE,
    Sheet,
    clean,
    message,
    text_width,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = ("train", "valid", "test")
_COLORS = dict(zip(PARTS, (PALETTE[3], PALETTE[8], PALETTE[1]), strict=True))
_MODELS = (ACCENT, REFERENCE, QUIET)
_DAY = 86400
_UNITS = {1: "day", 7: "week", 30: "30 days", 365: "year"}

GroupBars = Mapping[str, Sequence[tuple[float, float, float]]]
"""Group to value, lower and upper bound of its interval, one triple per model."""


def split_timeline(
    start: int, days: int, counts: Mapping[str, Sequence[int]], cuts: Sequence[int],
    users: Mapping[str, int], path: Path,
) -> None:  # fmt: skip
    """Draws the interactions of each part over time, stacked, with the cuts between parts.

    Args:
        start: Beginning of the first bin, seconds since 1970.
        days: Length of a bin.
        counts: Interactions per bin of "train", "valid" and "test", all of one length.
        cuts: Where valid and test begin, seconds since 1970.
        users: Number of users of each part.
        path: PNG to write.
    """
    write(lambda: build_timeline(start, days, counts, cuts, users), path)


def last_gaps(labels: Sequence[str], counts: Sequence[int], median: str, path: Path) -> None:
    """Draws how long after a user's last train interaction the one in test came.

    Args:
        labels: Names of the ranges of time, shortest first.
        counts: Users in each.
        median: The median gap in words.
        path: PNG to write.
    """
    write(lambda: build_gaps(labels, counts, median), path)


def group_comparison(
    groups: GroupBars, notes: Sequence[str], models: Sequence[str], metric: str, path: Path
) -> None:
    """Draws a metric of up to three models for every group, as bars with their intervals.

    Args:
        groups: In the order shown.
        notes: One line per group, such as its number of users.
        models: Names, ours first, then the reference.
        metric: Name of the metric.
        path: PNG to write.
    """
    write(lambda: build_groups(groups, notes, models, metric), path)


def build_timeline(
    start: int, days: int, counts: Mapping[str, Sequence[int]], cuts: Sequence[int],
    users: Mapping[str, int],
) -> Figure:  # fmt: skip
    """The figure of `split_timeline`."""
    bins = len(counts["train"])
    if bins == 0:
        return message("No interaction has a time.")
    left, width, top, height, below = 0.95, 6.2, 0.75, 2.6, 0.6
    sheet = Sheet(left + width + 0.35, top + height + below)
    axes = sheet.axes(left, top, width, height)
    at, floor = np.arange(bins) + 0.5, np.zeros(bins)
    for part in PARTS:
        values = np.asarray(counts[part], dtype=np.float64)
        axes.bar(at, values, 0.92 if bins < 80 else 1.0, floor, color=_COLORS[part], label=part)
        floor += values
    axes.set_xlim(0, bins)
    axes.set_ylim(0, 1.06 * floor.max() or 1.0)
    for cut in cuts:
        axes.axvline((cut - start) / (days * _DAY), color=INK, linewidth=1.0, linestyle=(0, (3, 2)))
    _legend(axes, [f"{p}: {sum(counts[p]):,} of {users[p]:,} users" for p in PARTS],
            [_COLORS[p] for p in PARTS])  # fmt: skip
    ticks = np.arange(0, bins, max(1, -(-bins // 5)))
    axes.set_xticks(ticks, [_date(start + int(t) * days * _DAY) for t in ticks])
    axes.set_xlabel("time (UTC); dashed: where valid and test begin")
    _counted(axes, f"interactions per {_UNITS.get(days, f'{days} days')}")
    return sheet.figure


def build_gaps(labels: Sequence[str], counts: Sequence[int], median: str) -> Figure:
    """The figure of `last_gaps`."""
    if not sum(counts):
        return message("No user has both a train and a test interaction with a time.")
    names = [clean(label) for label in labels]
    each = max(0.62, text_width(names, FONT - 1, "normal") + 0.15)
    left, width, top, height, below = 0.85, each * len(names), 0.35, 2.5, 0.6
    sheet = Sheet(max(left + width + 0.2, 5.6), top + height + below)
    axes = sheet.axes(left, top, width, height)
    axes.bar(range(len(names)), counts, 0.8, color=_COLORS["test"])
    for place, count in enumerate(counts):
        _above(axes, place, count, f"{count:,}")
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(0, 1.12 * max(counts))
    axes.set_xlabel(f"time from a user's last train interaction to the test one; median {median}")
    _counted(axes, "users")
    return sheet.figure


def build_groups(
    groups: GroupBars, notes: Sequence[str], models: Sequence[str], metric: str
) -> Figure:
    """The figure of `group_comparison`."""
    if not groups:
        return message("No group holds anything.")
    names = [clean(name) for name in groups]
    lines = [clean(note) for note in notes]
    each = max(0.42 * len(models) + 0.3, text_width([*names, *lines], FONT - 1) + 0.2)
    left, width, height = 0.85, max(each * len(names), 4.6), 2.7
    top = 0.15 + 0.2 * len(models)
    sheet = Sheet(left + width + 0.2, top + height + 0.85)
    axes = sheet.axes(left, top, width, height)
    bar = 0.8 / len(models)
    for number, color in zip(range(len(models)), _MODELS, strict=False):
        at = np.arange(len(names)) + (number - (len(models) - 1) / 2) * bar
        table = np.array([groups[name][number] for name in groups], dtype=np.float64)
        axes.bar(at, table[:, 0], 0.9 * bar, color=color, label=clean(models[number]))
        # The white edge keeps the lower half visible on a dark bar.
        for edge, line_width in (("white", 3.2), (INK, 1.2)):
            axes.vlines(at, table[:, 1], table[:, 2], color=edge, linewidth=line_width)
        for x, (value, _, high) in zip(at, table, strict=True):
            _above(axes, x, max(value, high), f"{value:.3f}", size=FONT - 2.5)
    axes.set_xlim(-0.5, len(names) - 0.5)
    highest = max(max(row) for rows in groups.values() for row in rows)
    axes.set_ylim(0, 1.12 * highest or 1.0)
    axes.set_xticks(range(len(names)), [f"{a}\n{b}" for a, b in zip(names, lines, strict=True)])
    axes.set_xlabel("groups by train interactions; lines: 95 % interval over users")
    _legend(axes, models, _MODELS)
    direction = "higher" if higher_is_better(metric) else "lower"
    _counted(axes, f"test {clean(metric, 24)} ({direction} is better)")
    return sheet.figure


def _legend(axes: Axes, texts: Sequence[str], colors: Sequence[str]) -> None:
    """Lines of text above the axes, each behind a square of its color."""
    for line, (text, color) in enumerate(zip(reversed(texts), reversed(colors[: len(texts)]),
                                             strict=True)):  # fmt: skip
        up = 10 + 14 * line
        axes.annotate(
            "\N{BLACK SQUARE}", (0, 1), xycoords="axes fraction", xytext=(0, up),
            textcoords="offset points", color=color, fontsize=FONT + 2, va="center",
        )  # fmt: skip
        axes.annotate(
            clean(text, 60), (0, 1), xycoords="axes fraction", xytext=(13, up),
            textcoords="offset points", color=INK, fontsize=FONT, va="center",
        )  # fmt: skip


def _above(axes: Axes, x: float, y: float, text: str, size: float = FONT - 1) -> None:
    axes.annotate(
        text, (x, y), xytext=(0, 2), textcoords="offset points", ha="center", va="bottom",
        fontsize=size, color=QUIET,
    )  # fmt: skip


def _counted(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", length=0)


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
