"""Which operation every edge of a cell had by epoch: a strip per edge, a color per operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sif.plots.lines import LABEL_STEP
from sif.plots.style import (
    FONT,
    INK,
    PALETTE,
    QUIET,
    SHADE,
    Sheet,
    clean,
    message,
    text_width,
    title,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches.
_ROW, _GAP, _LEFT, _WIDTH, _TOP, _BELOW, _PATCH = 0.17, 0.09, 0.75, 5.0, 0.42, 0.55, 0.13


@dataclass(frozen=True)
class Strips:
    """A block of edges.

    Attributes:
        name: Of the block.
        operations: (n_ops) names, in the order of colors.
        edges: (n_edges) pairs of the nodes that an edge leaves and enters, those that enter the
            same node side by side.
        trained: (n_ops) weight steps that trained each operation; None: not told.
    """

    name: str
    operations: Sequence[str]
    edges: Sequence[tuple[int, int]]
    trained: Sequence[int] | None = None


def gate_trajectories(
    history: Sequence[Mapping[str, Any]], blocks: Sequence[Strips], path: Path, *, warmup: int = 0
) -> None:
    """Draws the selection after every epoch; an edge that is dropped is pale.

    Args:
        history: One entry per epoch with "selection": block to one operation's index per edge,
            negative for a dropped one.
        blocks: What is drawn, from top to bottom.
        path: PNG to write.
        warmup: First epochs, in which alpha rested.
    """
    write(lambda: build_gates(history, blocks, warmup), path)


def build_gates(
    history: Sequence[Mapping[str, Any]], blocks: Sequence[Strips], warmup: int
) -> Figure:
    """The figure of `gate_trajectories`."""
    if not history:
        return message("No search epochs were recorded.")
    names = [name for block in blocks for name in _legend(block)]
    right = text_width([clean(name) for name in names]) + 0.55
    heights = [_offsets(block)[-1] + _ROW for block in blocks]
    sheet = Sheet(_LEFT + _WIDTH + right, sum(h + _TOP + _BELOW for h in heights))
    top = 0.0
    for block, height in zip(blocks, heights, strict=True):
        axes = sheet.axes(_LEFT, top + _TOP, _WIDTH, height)
        axes.set_ylim(height, 0)
        axes.set_xlim(0, len(history))
        _draw(axes, history, block)
        _names(axes, block, height)
        title(axes, block.name)
        _frame(axes, warmup)
        top += _TOP + height + _BELOW
    return sheet.figure


def _offsets(block: Strips) -> list[float]:
    """Inches from the top of each edge's strip, with a gap between nodes."""
    offsets, at = [], 0.0
    for number, (_, node) in enumerate(block.edges):
        if number and node != block.edges[number - 1][1]:
            at += _GAP
        offsets.append(at)
        at += _ROW
    return offsets


def _legend(block: Strips) -> list[str]:
    if block.trained is None:
        return list(block.operations)
    total = max(sum(block.trained), 1)
    shares = [f"{100 * count / total:.0f} %" for count in block.trained]
    return [f"{n}, {s} of training" for n, s in zip(block.operations, shares, strict=True)]


def _draw(axes: Axes, history: Sequence[Mapping[str, Any]], block: Strips) -> None:
    offsets = _offsets(block)
    chosen = np.array([entry["selection"][block.name] for entry in history])
    for edge, top in enumerate(offsets):
        axes.barh(top + _ROW / 2, len(history), height=_ROW - 0.02, left=0, color=SHADE, zorder=1)
        changes = np.flatnonzero(np.diff(chosen[:, edge])) + 1
        bounds = [0, *changes.tolist(), len(history)]
        for start, end in pairwise(bounds):
            if (k := int(chosen[start, edge])) >= 0:
                axes.barh(
                    top + _ROW / 2, end - start, height=_ROW - 0.02, left=start,
                    color=PALETTE[k % len(PALETTE)], zorder=2,
                )  # fmt: skip
    axes.set_yticks([top + _ROW / 2 for top in offsets])
    axes.set_yticklabels([f"{a} \N{RIGHTWARDS ARROW} {b}" for a, b in block.edges])


def _names(axes: Axes, block: Strips, height: float) -> None:
    """Patches and names to the right, from the top."""
    from matplotlib.patches import Rectangle

    for k, name in enumerate(_legend(block)):
        y = 1 - (LABEL_STEP * k + 0.02) / height
        axes.add_patch(
            Rectangle(
                (1 + 0.15 / _WIDTH, y - _PATCH / height),
                _PATCH / _WIDTH,
                _PATCH / height,
                transform=axes.transAxes,
                color=PALETTE[k % len(PALETTE)],
                clip_on=False,
            )
        )
        axes.text(
            1 + 0.35 / _WIDTH, y - _PATCH / 2 / height, clean(name), transform=axes.transAxes,
            va="center_baseline", color=INK, fontsize=FONT,
        )  # fmt: skip


def _frame(axes: Axes, warmup: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True))
    axes.set_xlabel("epoch" + (f"; alpha rests in the first {warmup}" if warmup else ""))
    axes.tick_params(length=0)
    if warmup:
        axes.axvline(warmup, color=QUIET, linewidth=0.9, linestyle=(0, (3, 2)), zorder=3)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
