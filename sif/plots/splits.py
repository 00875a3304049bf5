"""A split over time, and metrics of models on the groups of users that it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sif.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = ("train", "valid", "test")
_COLORS = dict(zip(PARTS, (style.PALETTE[3], style.PALETTE[8], style.PALETTE[1]), strict=True))
_MODELS = (style.ACCENT, style.REFERENCE, style.QUIET)
_DAY = 86400
_UNITS = {1: "day", 7: "week", 30: "30 days", 365: "year"}

GroupBars = Mapping[str, Sequence[tuple[float, float, float]]]
"""Group to value, lower and upper bound of its interval, one triple per model."""


@style.Drawing
def split_timeline(
    figure: Figure, start: int, days: int, counts: Mapping[str, Sequence[int]],
    cuts: Sequence[int], users: Mapping[str, int],
) -> None:  # fmt: skip
    """Draws the interactions of each part over time, stacked, with the cuts between parts.

    Args:
        figure: Is drawn on.
        start: Beginning of the first bin, seconds since 1970.
        days: Length of a bin.
        counts: Interactions per bin of "train", "valid" and "test", all of one length.
        cuts: Begin of valid and test, seconds since 1970.
        users: Number of users of each part.
    """
    bins = len(counts["train"])
    if bins == 0:
        style.message(figure, "No interaction has a time.")
        return
    axes = style.panel(figure, 6.2, 2.6)
    at, floor = np.arange(bins) + 0.5, np.zeros(bins)
    for part in PARTS:
        values = np.asarray(counts[part], dtype=np.float64)
        label = f"{part}: {sum(counts[part]):,} of {users[part]:,} users"
        axes.bar(at, values, 0.92 if bins < 80 else 1.0, floor, color=_COLORS[part], label=label)
        floor += values
    axes.set_xlim(0, bins)
    axes.set_ylim(0, 1.06 * floor.max() or 1.0)
    for cut in cuts:
        axes.axvline(
            (cut - start) / (days * _DAY), color=style.INK, linewidth=1.0, linestyle=(0, (3, 2))
        )
    style.legend(axes)
    ticks = np.arange(0, bins, max(1, -(-bins // 5)))
    axes.set_xticks(ticks, [_date(start + int(t) * days * _DAY) for t in ticks])
    axes.set_xlabel("time (UTC); dashed: where valid and test begin")
    _counted(axes, f"interactions per {_UNITS.get(days, f'{days} days')}")


@style.Drawing
def last_gaps(figure: Figure, labels: Sequence[str], counts: Sequence[int], median: str) -> None:
    """Draws how long after a user's last train interaction the one in test came.

    Users are counted in named ranges of time, shortest first; the median gap is given in words.
    """
    if not sum(counts):
        style.message(figure, "No user has both a train and a test interaction with a time.")
        return
    names = [style.clean(label) for label in labels]
    each = max(0.62, style.text_width(names, style.FONT - 1, "normal") + 0.15)
    axes = style.panel(figure, each * len(names), 2.5)
    axes.bar(range(len(names)), counts, 0.8, color=_COLORS["test"])
    for place, count in enumerate(counts):
        _above(axes, place, count, f"{count:,}")
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(0, 1.12 * max(counts))
    axes.set_xlabel(f"time from a user's last train interaction to the test one; median {median}")
    _counted(axes, "users")


@style.Drawing
def group_comparison(
    figure: Figure, groups: GroupBars, notes: Sequence[str], models: Sequence[str], metric: str
) -> None:
    """Draws a metric of up to three models for every group, as bars with their intervals.

    Models are ours first, then the reference. Each group has a note, such as its number of users.
    """
    if not groups:
        style.message(figure, "No group holds anything.")
        return
    names = [style.clean(name) for name in groups]
    lines = [style.clean(note) for note in notes]
    each = max(0.42 * len(models) + 0.3, style.text_width([*names, *lines], style.FONT - 1) + 0.2)
    axes = style.panel(figure, max(each * len(names), 4.6), 2.7)
    bar = 0.8 / len(models)
    for number, color in zip(range(len(models)), _MODELS, strict=False):
        at = np.arange(len(names)) + (number - (len(models) - 1) / 2) * bar
        table = np.array([groups[name][number] for name in groups], dtype=np.float64)
        axes.bar(at, table[:, 0], 0.9 * bar, color=color, label=style.clean(models[number], 60))
        # The white edge keeps the lower half visible on a dark bar.
        for edge, line_width in (("white", 3.2), (style.INK, 1.2)):
            axes.vlines(at, table[:, 1], table[:, 2], color=edge, linewidth=line_width)
        for x, (value, _, high) in zip(at, table, strict=True):
            _above(axes, x, max(value, high), f"{value:.3f}", size=style.FONT - 2.5)
    axes.set_xlim(-0.5, len(names) - 0.5)
    highest = max(max(row) for rows in groups.values() for row in rows)
    axes.set_ylim(0, 1.12 * highest or 1.0)
    axes.set_xticks(range(len(names)), [f"{a}\n{b}" for a, b in zip(names, lines, strict=True)])
    axes.set_xlabel("groups by train interactions; lines: 95 % interval over users")
    style.legend(axes)
    _counted(axes, f"test {style.clean(metric, 24)} ({style.better(metric)})")


def _above(axes: Axes, x: float, y: float, text: str, size: float = style.FONT - 1) -> None:
    axes.annotate(
        text, (x, y), xytext=(0, 2), textcoords="offset points", ha="center", va="bottom",
        fontsize=size, color=style.QUIET,
    )  # fmt: skip


def _counted(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    axes.grid(axis="y", color=style.FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", length=0, pad=6)  # as far as from ticks, beneath the 0 beside


def _date(seconds: int) -> str:
    return str(np.datetime64(seconds, "s")).partition("T")[0]  # of any year
