"""What a choice costs against what it brings: size and error of networks, seconds of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sif.plots import lines as ends
from sif.plots.lines import Line
from sif.plots.style import (
    ACCENT,
    FAINT,
    FONT,
    INK,
    PALETTE,
    QUIET,
    Sheet,
    clean,
    limits,
    message,
    text_width,
    write,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Choice:
    """A point of a trade-off.

    Attributes:
        name: Beside it.
        runs: (n, 2) pairs of cost and error, one per seed.
    """

    name: str
    runs: Sequence[tuple[float, float]]


def trade_off(choices: Sequence[Choice], cost: str, error: str, path: Path) -> None:
    """Draws mean cost against mean error of each choice, joined in the order given.

    Args:
        choices: The points, faint ones for single runs.
        cost: Label of the x axis.
        error: Label of the y axis.
        path: PNG to write.
    """
    write(lambda: build_trade_off(choices, cost, error), path)


def fronts(
    groups: Mapping[str, Sequence[tuple[float, float]]], cost: str, error: str, path: Path
) -> None:
    """Draws all points of each group and the staircase of those that no other of it dominates.

    Args:
        groups: Name to (cost, error) of its points, at most as many groups as colors.
        cost: Label of the x axis.
        error: Label of the y axis.
        path: PNG to write.
    """
    write(lambda: build_fronts(groups, cost, error), path)


def cost_bars(
    rows: Sequence[tuple[str, Sequence[float]]], parts: Sequence[str], unit: str, path: Path
) -> None:
    """Draws what each method costs as a bar of parts, with the ratio of its total to the first's.

    Args:
        rows: Name and one number per part.
        parts: Names of the parts.
        unit: Label of the x axis.
        path: PNG to write.
    """
    write(lambda: build_bars(rows, parts, unit), path)


def build_trade_off(choices: Sequence[Choice], cost: str, error: str) -> Figure:
    """The figure of `trade_off`."""
    if not any(choice.runs for choice in choices):
        return message("Nothing was measured.")
    tables = [np.array(choice.runs, dtype=np.float64).reshape(-1, 2) for choice in choices]
    every, means = np.concatenate(tables), [t.mean(axis=0) for t in tables if len(t)]
    points = [
        Line(choice.name, x[None], y[None], ACCENT, strong=True)
        for choice, (x, y) in zip([c for c in choices if c.runs], means, strict=True)
    ]
    sheet = Sheet(0.85 + 4.6 + ends.margin([point.name for point in points]), 4.35)
    axes = sheet.axes(0.85, 0.2, 4.6, 3.5)
    axes.plot(every[:, 0], every[:, 1], "o", color=PALETTE[3], markersize=4, zorder=2)
    axes.plot(*np.array(means).T, "-", color=FAINT, linewidth=1.4, zorder=1)
    axes.set_xlim(*limits([], every[:, 0])[:2])
    axes.set_ylim(*limits([], every[:, 1])[:2])
    ends.draw(axes, points)
    ends.name_ends(axes, points)
    axes.set_xlabel(cost)
    axes.set_ylabel(error)
    return sheet.figure


def undominated(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those than which none is both cheaper and better, the cheapest first."""
    kept: list[tuple[float, float]] = []
    for cost, error in sorted(points):
        if not kept or error < kept[-1][1]:
            kept.append((cost, error))
    return kept


def build_fronts(
    groups: Mapping[str, Sequence[tuple[float, float]]], cost: str, error: str
) -> Figure:
    """The figure of `fronts`."""
    every = np.array([point for points in groups.values() for point in points]).reshape(-1, 2)
    if not len(every):
        return message("Nothing was measured.")
    sheet = Sheet(6.2, 4.7)
    axes = sheet.axes(0.85, 0.55, 5.0, 3.5)
    axes.set_xlim(*limits([], every[:, 0])[:2])
    axes.set_ylim(*limits([], every[:, 1])[:2])
    right = axes.get_xlim()[1]
    for (name, points), color, marker in zip(groups.items(), PALETTE, "os^D", strict=False):
        axes.plot(*np.array(points).reshape(-1, 2).T, marker, color=color, markersize=5,
                  alpha=0.75, label=clean(name))  # fmt: skip
        best = undominated(points)
        stairs = [*best, (right, best[-1][1])] if best else []
        axes.step(*np.array(stairs).reshape(-1, 2).T, where="post", color=color, linewidth=1.6)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=len(groups), frameon=False, borderpad=0,
        labelcolor=QUIET, fontsize=FONT,
    )  # fmt: skip
    axes.set_xlabel(cost)
    axes.set_ylabel(error)
    return sheet.figure


def build_bars(
    rows: Sequence[tuple[str, Sequence[float]]], parts: Sequence[str], unit: str
) -> Figure:
    """The figure of `cost_bars`."""
    if not rows:
        return message("Nothing was measured.")
    left = text_width([clean(name) for name, _ in rows]) + 0.35
    width, row = 4.6, 0.34
    sheet = Sheet(left + width + 1.0, 0.5 + row * len(rows) + 0.6)
    axes = sheet.axes(left, 0.5, width, row * len(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    first = sum(rows[0][1])
    for place, (name, numbers) in enumerate(rows):
        start = 0.0
        for k, number in enumerate(numbers):
            axes.barh(place, number, left=start, height=0.62, color=PALETTE[k],
                      label=parts[k] if place == 0 else None)  # fmt: skip
            start += number
        axes.annotate(
            f"{start:.2f} s, {start / first:.1f}x", (start, place), xytext=(5, 0),
            textcoords="offset points", va="center", color=INK,
        )  # fmt: skip
        axes.annotate(
            clean(name), (0, place), xycoords=("axes fraction", "data"), xytext=(-8, 0),
            textcoords="offset points", ha="right", va="center", color=INK,
            fontweight="bold" if place == 0 else "normal",
        )  # fmt: skip
    axes.set_xlim(0, 1.02 * max(sum(numbers) for _, numbers in rows))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=len(parts), frameon=False, borderpad=0,
        labelcolor=QUIET, fontsize=FONT,
    )  # fmt: skip
    axes.set_xlabel(unit)
    return sheet.figure
