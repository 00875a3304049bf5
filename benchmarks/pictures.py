"""Pictures of what a choice costs against what it brings: size and error, seconds of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sif.plots import lines as ends
from sif.plots import style
from sif.plots.lines import Line
from sif.plots.rows import band, embolden

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


@style.Drawing
def trade_off(figure: Figure, choices: Sequence[Choice], cost: str, error: str) -> None:
    """Draws mean cost against mean error of each choice, joined in the order given.

    Args:
        figure: Is drawn on.
        choices: The points, faint ones for single runs.
        cost: Label of the x axis.
        error: Label of the y axis.
    """
    if not any(choice.runs for choice in choices):
        style.message(figure, "Nothing was measured.")
        return
    tables = [np.array(choice.runs, dtype=np.float64).reshape(-1, 2) for choice in choices]
    every, means = np.concatenate(tables), [t.mean(axis=0) for t in tables if len(t)]
    points = [
        Line(choice.name, x[None], y[None], style.ACCENT, strong=True)
        for choice, (x, y) in zip([c for c in choices if c.runs], means, strict=True)
    ]
    axes = style.panel(figure, 4.6, 3.5)
    axes.plot(every[:, 0], every[:, 1], "o", color=style.PALETTE[3], markersize=4, zorder=2)
    axes.plot(*np.array(means).T, "-", color=style.FAINT, linewidth=1.4, zorder=1)
    axes.set_xlim(*style.limits([], every[:, 0])[:2])
    axes.set_ylim(*style.limits([], every[:, 1])[:2])
    ends.draw(axes, points)
    ends.name_ends(axes, points)
    axes.set(xlabel=cost, ylabel=error)


@style.Drawing
def fronts(
    figure: Figure, groups: Mapping[str, Sequence[tuple[float, float]]], cost: str, error: str
) -> None:
    """Draws all points of each group and the staircase of those that no other of it dominates.

    Args:
        figure: Is drawn on.
        groups: Name to (cost, error) of its points, at most as many groups as colors.
        cost: Label of the x axis.
        error: Label of the y axis.
    """
    every = np.array([point for points in groups.values() for point in points]).reshape(-1, 2)
    if not len(every):
        style.message(figure, "Nothing was measured.")
        return
    axes = style.panel(figure, 5.0, 3.5)
    axes.set_xlim(*style.limits([], every[:, 0])[:2])
    axes.set_ylim(*style.limits([], every[:, 1])[:2])
    right = axes.get_xlim()[1]
    for (name, points), color, marker in zip(groups.items(), style.PALETTE, "os^D", strict=False):
        axes.plot(*np.array(points).reshape(-1, 2).T, marker, color=color, markersize=5,
                  alpha=0.75, label=style.clean(name))  # fmt: skip
        best = undominated(points)
        stairs = [*best, (right, best[-1][1])] if best else []
        axes.step(*np.array(stairs).reshape(-1, 2).T, where="post", color=color, linewidth=1.6)
    style.legend(axes, len(groups))
    axes.set(xlabel=cost, ylabel=error)


@style.Drawing
def levels(
    figure: Figure, points: Mapping[str, tuple[float, float]], known: Mapping[str, float],
    cost: str, merit: str,
) -> None:  # fmt: skip
    """Draws what was measured as points, and what is known without a cost as dashed levels.

    Args:
        figure: Is drawn on.
        points: Name to (cost, merit), the one to look at first.
        known: Name to merit.
        cost: Label of the x axis, which is logarithmic.
        merit: Label of the y axis.
    """
    axes = style.panel(figure, 4.8, 3.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")  # the style shows no mathematical text
    costs = [x for x, _ in points.values()]
    axes.set_xlim(min(costs) / 4, 2 * max(costs))
    axes.set_ylim(0, 1.1 * max(*known.values(), *(y for _, y in points.values())))
    sides = np.array(axes.get_xlim())
    lines = [
        Line(name, sides, np.full(2, level), style.PALETTE[k + 1], dashed=True)
        for k, (name, level) in enumerate(known.items())
    ]
    ends.draw(axes, lines)
    ends.name_ends(axes, lines)
    for place, (name, point) in enumerate(points.items()):
        axes.plot(*point, "o", color=style.ACCENT, markersize=5 if place else 8, zorder=5)
        axes.annotate(
            style.clean(name), point, xytext=(-8, 0), ha="right",
            textcoords="offset points", va="center_baseline",
            color=style.QUIET if place else style.INK, fontweight="normal" if place else "bold",
        )  # fmt: skip
    axes.set(xlabel=cost, ylabel=merit)


@style.Drawing
def cost_bars(
    figure: Figure, rows: Sequence[tuple[str, Sequence[float]]], parts: Sequence[str], unit: str
) -> None:
    """Draws what each method costs as a bar of parts, with the ratio of its total to the first's.

    Args:
        figure: Is drawn on.
        rows: Name and one number per part.
        parts: Names of the parts.
        unit: Label of the x axis.
    """
    if not rows:
        style.message(figure, "Nothing was measured.")
        return
    axes = band(figure, [name for name, _ in rows], 0.34)
    ends_at = np.cumsum([numbers for _, numbers in rows], axis=1)
    for k, part in enumerate(parts):
        widths = [numbers[k] for _, numbers in rows]
        axes.barh(range(len(rows)), widths, 0.62, ends_at[:, k] - widths, color=style.PALETTE[k],
                  label=part)  # fmt: skip
    for place, total in enumerate(ends_at[:, -1]):
        axes.annotate(
            f"{total:.2f} s, {total / ends_at[0, -1]:.1f}x", (total, place), xytext=(5, 0),
            textcoords="offset points", va="center_baseline", color=style.INK,
        )  # fmt: skip
    embolden(axes, 0)
    axes.set_xlim(0, 1.02 * ends_at[:, -1].max())
    style.legend(axes, len(parts))
    axes.set_xlabel(unit)


def undominated(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those than which none is both cheaper and better, the cheapest first."""
    kept: list[tuple[float, float]] = []
    for cost, error in sorted(points):
        if not kept or error < kept[-1][1]:
            kept.append((cost, error))
    return kept
