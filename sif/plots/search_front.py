"""The candidates of a search by its error and each of its other objectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sif.plots.style import (
    ACCENT,
    FAINT,
    FONT,
    QUIET,
    REFERENCE,
    Drawing,
    clean,
    few_ticks,
    legend,
    limits,
    message,
    panel,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT, _APART = 4.4, 3.0, 0.75


@Drawing
def search_front(figure: Figure, front: Mapping[str, Any]) -> None:
    """Draws candidates, those on the front, and the picked one, a panel for each objective.

    Args:
        figure: Is drawn on.
        front: From `sif.search.front.front_document`.
    """
    values = np.array([point["values"] for point in front["points"]], dtype=float)
    if not len(values):
        message(figure, "No candidates were compared by several objectives.")
        return
    on_front = np.array([point["number"] is not None for point in front["points"]])
    picked = np.array([bool(point["picked"]) for point in front["points"]])
    for number, (name, unit) in enumerate(zip(front["names"], front["units"], strict=True)):
        axes = panel(figure, _WIDTH, _HEIGHT, top=number * (_HEIGHT + _APART))
        cost, error, most = values[:, 1 + number], values[:, 0], front["bounds"][number]
        axes.set_xlim(*limits([], [*cost, *([] if most is None else [most])])[:2])
        axes.set_ylim(*limits([], list(error))[:2])
        for rows, color, size, label in (
            (~on_front, QUIET, 4, "candidate"), (on_front, ACCENT, 6, "on the front"),
        ):  # fmt: skip
            axes.plot(cost[rows], error[rows], "o", color=color, markersize=size, label=label)
        axes.plot(
            cost[picked], error[picked], "o", markersize=12, markerfacecolor="none",
            markeredgecolor=ACCENT, label="picked",
        )  # fmt: skip
        if most is not None:
            axes.axvline(most, color=REFERENCE, linewidth=0.9, linestyle=(0, (3, 2)), label="bound")
        few_ticks(axes, x=5, y=5)
        axes.grid(color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel(clean(f"{name} ({unit})" if unit else name))
        axes.set_ylabel(clean(front["error"], 24), fontsize=FONT)
        if number == 0:
            legend(axes, right=True, labelspacing=0.7)
