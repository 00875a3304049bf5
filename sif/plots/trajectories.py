"""The course of a search: alpha and score of every operation by epoch, one panel per edge.

The figure is drawn from the history that a search records, as it stands in a run's files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sif.errors import ShapeError
from sif.plots import lines as ends
from sif.plots import style
from sif.plots.lines import Line
from sif.plots.style import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, Any]]

SCORE_LABELS = {
    "replacement_loss": "replacement loss\n(log ratio)",
    "gradient": "gradient score\n(loss per gate)",
}
"""Axis label by kind of score; of both kinds less is better."""

_WIDTH = 5.6  # inches
_BETWEEN = 0.25  # inches between alpha and score, enough for the remark of a cut axis


@dataclass(frozen=True, eq=False)
class _Panel:
    """One edge: alpha (n_epochs, n_ops), score likewise with NaN where missing."""

    heading: str
    names: Sequence[str]
    alpha: Floats
    score: Floats
    chosen: int | None

    def lines(self, table: Floats) -> list[Line]:
        epochs = np.arange(1.0, len(table) + 1)
        return [
            Line(name, epochs, table[:, k], color, k == self.chosen, dashed)
            for k, name in enumerate(self.names)
            for color, dashed in [ends.colored(k)]
        ]

    def heights(self, scored: bool) -> tuple[float, float]:
        """Inches of the two axes, enough for all names."""
        names = ends.LABEL_STEP * len(self.names)
        return max(1.9, names + 0.3), max(1.3, names) if scored else 0.0


@style.Drawing
def alpha_trajectories(
    figure: Figure,
    history: History,
    blocks: Mapping[str, Sequence[str]],
    *,
    score: str = "replacement_loss",
    warmup: int = 0,
) -> None:
    """Draws alpha by epoch of every operation, and beneath it the score that alpha descended on.

    Args:
        figure: Is drawn on.
        history: One entry per epoch: "alpha" (block to rows of one number per operation), "scores"
            (kind to the same), "selection" (block to one index per row). Scores may be missing. One
            of exactly 0 says nothing, and is shown only of the active operation and where others
            were judged against it.
        blocks: Block name to operation names, in the order to draw.
        score: Kind of score to show.
        warmup: First epochs in which alpha rested; shaded.
    """
    panels = [p for block, names in blocks.items() for p in _panels(history, block, names, score)]
    if not panels:
        style.message(figure, "No search epochs were recorded.")
        return
    scored = any(np.isfinite(p.score).any() for p in panels)
    columns = math.ceil(math.sqrt(len(panels) / 3))
    cell = _WIDTH + ends.margin([name for names in blocks.values() for name in names]) + 0.85
    top = 0.0
    for first in range(0, len(panels), columns):
        row = panels[first : first + columns]
        alpha_height, score_height = (
            max(h) for h in zip(*(p.heights(scored) for p in row), strict=True)
        )
        for column, shown in enumerate(row):
            left = column * cell
            upper = style.panel(figure, _WIDTH, alpha_height, left, top)
            _draw_alpha(upper, shown, warmup)
            if scored:
                upper.tick_params(labelbottom=False)
                beneath = top + alpha_height + _BETWEEN
                lower = style.panel(figure, _WIDTH, score_height, left, beneath)
                _draw_score(lower, shown, score, warmup)
            else:
                upper.set_xlabel(_clock(warmup))
        top += alpha_height + score_height + _BETWEEN * scored + 1.04


def _panels(history: History, block: str, names: Sequence[str], score: str) -> list[_Panel]:
    edges = max((len(entry["alpha"].get(block, ())) for entry in history), default=0)
    panels = []
    for edge in range(edges):
        chosen = _row(history[-1].get("selection"), block, edge)
        # An edge may carry no operation at all, which is written as a negative index or None.
        index = chosen if isinstance(chosen, int) and 0 <= chosen < len(names) else None
        where = block if edges == 1 else f"{block} {edge + 1}"
        panels.append(
            _Panel(
                f"{where}: {names[index]} chosen" if index is not None else where,
                names,
                _table([e["alpha"] for e in history], block, edge, names),
                _judged(history, block, edge, names, score),
                index,
            )
        )
    return panels


def _judged(history: History, block: str, edge: int, names: Sequence[str], score: str) -> Floats:
    """Scores of one edge, NaN where one of exactly 0 says that a candidate was not judged.

    The active operation has 0 because the others are judged against it, if any are.
    """
    table = _table([(e.get("scores") or {}).get(score) for e in history], block, edge, names)
    for row, entry in zip(table, history, strict=True):
        resting = row == 0
        active = _row(entry.get("selection"), block, edge)
        if isinstance(active, int) and 0 <= active < len(names):
            others = np.delete(row, active)
            resting[active] &= not (np.isfinite(others) & (others != 0)).any()
        row[resting] = np.nan
    return table


def _row(rows_of: Mapping[str, Any] | None, block: str, edge: int) -> Any:
    rows = (rows_of or {}).get(block) or ()
    return rows[edge] if edge < len(rows) else None


def _table(
    entries: Sequence[Mapping[str, Any] | None], block: str, edge: int, names: Sequence[str]
) -> Floats:
    """(n_epochs, n_ops) of one edge, NaN where an entry has nothing."""
    table = np.full((len(entries), len(names)), np.nan)
    for epoch, entry in enumerate(entries):
        row = _row(entry, block, edge)
        if row is None:
            continue
        if len(row) != len(names):
            raise ShapeError(
                f"history epoch {epoch + 1}: block {block}: expected {len(names)} numbers per row, "
                f"found {len(row)}"
            )
        table[epoch] = np.array(row, dtype=np.float64)  # None becomes NaN
    return table


def _draw_alpha(axes: Axes, panel: _Panel, warmup: int) -> None:
    low, high, cut = style.limits([panel.alpha], panel.alpha[-1])
    _frame(axes, panel, warmup)
    axes.set_ylim(low, high)
    axes.set_ylabel("alpha")
    style.title(axes, panel.heading, cut=cut)
    _draw_lines(axes, panel.lines(panel.alpha))


def _draw_score(axes: Axes, panel: _Panel, score: str, warmup: int) -> None:
    lines = panel.lines(panel.score)
    low, high, cut = style.limits(
        [panel.score], [0.0, *(line.end[1] for line in lines if line.end)]
    )
    _frame(axes, panel, warmup)
    axes.set_ylim(low, high)
    axes.axhline(0.0, color=style.FAINT, linewidth=1.0, zorder=1)
    axes.set_xlabel(_clock(warmup))
    axes.set_ylabel(SCORE_LABELS.get(score, f"{score} score"))
    if not np.isfinite(panel.score).any():
        axes.text(
            0.5, 0.5, "no candidate was judged", transform=axes.transAxes, ha="center",
            va="bottom", color=style.QUIET, fontsize=style.FONT - 1,
        )  # fmt: skip
    if cut:
        style.cut_remark(axes)
    _draw_lines(axes, lines)


def _frame(axes: Axes, panel: _Panel, warmup: int) -> None:
    # Alpha is recorded at the end of an epoch, so the first epoch spans 0 to 1.
    axes.set_xlim(0, 1.015 * len(panel.alpha))
    style.few_ticks(axes, x=8, integer=True)
    style.few_ticks(axes, y=5)
    if warmup:
        axes.axvspan(0, min(warmup, len(panel.alpha)), color=style.SHADE, linewidth=0, zorder=0)


def _clock(warmup: int) -> str:
    return "epoch (shaded: alpha rests)" if warmup else "epoch"


def _draw_lines(axes: Axes, lines: Sequence[Line]) -> None:
    ends.draw(axes, lines)
    ends.name_ends(axes, lines)
