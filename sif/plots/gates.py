"""The operation of every edge of a cell by epoch: a strip per edge, a color per operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sif.plots import style
from sif.plots.lines import colored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW, _GAP = 0.17, 0.09  # inches
_NAME = 0.19  # inches of a line of the legend


@dataclass(frozen=True)
class Strips:
    """A block of edges.

    Attributes:
        name: Of the block.
        operations: (n_ops) names, in the order of colors.
        edges: (n_edges) pairs of the nodes that an edge leaves and enters, sorted by the latter.
        trained: (n_ops) weight steps that trained each operation; None: not told.
    """

    name: str
    operations: Sequence[str]
    edges: Sequence[tuple[int, int]]
    trained: Sequence[int] | None = None


@style.Drawing
def gate_trajectories(
    figure: Figure,
    history: Sequence[Mapping[str, Any]],
    blocks: Sequence[Strips],
    *,
    warmup: int = 0,
) -> None:
    """Draws the selection after every epoch; an edge that is dropped is pale.

    Args:
        figure: Is drawn on.
        history: Per epoch "selection": block to an operation's index per edge, negative if dropped.
        blocks: Blocks to draw, from top to bottom.
        warmup: First epochs, in which alpha rested.
    """
    if not history:
        style.message(figure, "No search epochs were recorded.")
        return
    top = 0.0
    for block in blocks:
        height = _offsets(block)[-1] + _ROW
        axes = style.panel(figure, 5.0, height, top=top)
        axes.set_ylim(height, 0)
        axes.set_xlim(0, len(history))
        _draw(axes, history, block)
        _name(axes, block)
        style.title(axes, block.name)
        _frame(axes, warmup)
        top += max(height + 0.97, _NAME * len(block.operations) + 0.5)


def _offsets(block: Strips) -> list[float]:
    """Inches from the top of each edge's strip, with a gap between nodes."""
    offsets, at = [], 0.0
    for number, (_, node) in enumerate(block.edges):
        if number and node != block.edges[number - 1][1]:
            at += _GAP
        offsets.append(at)
        at += _ROW
    return offsets


def _draw(axes: Axes, history: Sequence[Mapping[str, Any]], block: Strips) -> None:
    offsets = _offsets(block)
    chosen = np.array([entry["selection"][block.name] for entry in history])
    for edge, top in enumerate(offsets):
        axes.barh(
            top + _ROW / 2, len(history), height=_ROW - 0.02, left=0, color=style.SHADE, zorder=1
        )
        changes = np.flatnonzero(np.diff(chosen[:, edge])) + 1
        bounds = [0, *changes.tolist(), len(history)]
        for start, end in pairwise(bounds):
            if (k := int(chosen[start, edge])) >= 0:
                middle, width = top + _ROW / 2, end - start
                axes.barh(middle, width, _ROW - 0.02, left=start, zorder=2, **_look(k))
    axes.set_yticks([top + _ROW / 2 for top in offsets])
    axes.set_yticklabels([f"{a} \N{RIGHTWARDS ARROW} {b}" for a, b in block.edges])


def _look(operation: int) -> dict[str, Any]:
    """Color of an operation, hatched where colors have run out."""
    color, hatched = colored(operation)
    hatch = "////" if hatched else None
    return {"facecolor": color, "edgecolor": "white", "linewidth": 0, "hatch": hatch}


def _name(axes: Axes, block: Strips) -> None:
    """Colors of the operations, with the share of training that each one got."""
    from matplotlib.patches import Patch

    names = list(block.operations)
    if block.trained is not None:
        total = max(sum(block.trained), 1)
        shares = [f"{100 * count / total:.0f} %" for count in block.trained]
        names = [f"{n}, {share} of training" for n, share in zip(names, shares, strict=True)]
    patches = [Patch(label=style.clean(name), **_look(k)) for k, name in enumerate(names)]
    style.legend(axes, right=True, handles=patches)


def _frame(axes: Axes, warmup: int) -> None:
    style.few_ticks(axes, x=8, integer=True)
    axes.set_xlabel("epoch (alpha rests until the dashed line)" if warmup else "epoch")
    axes.tick_params(length=0)
    if warmup:
        axes.axvline(warmup, color=style.QUIET, linewidth=0.9, linestyle=(0, (3, 2)), zorder=3)
    axes.spines[:].set_visible(False)
