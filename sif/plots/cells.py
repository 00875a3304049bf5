"""Cells as graphs: nodes from left to right, one labeled arrow per operation, PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sif.plots.style import FONT, INK, PALETTE, QUIET, SHADE, Drawing, panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Nodes = Sequence[Sequence[tuple[str, int]]]
"""For each intermediate node its operations and the nodes that they read."""

_STEP = 1.55  # inches between nodes
INPUTS = ("c\N{SUBSCRIPT MINUS}\N{SUBSCRIPT TWO}", "c\N{SUBSCRIPT MINUS}\N{SUBSCRIPT ONE}")
"""The outputs of the two cells before a convolutional one."""


def cell_graphs(
    path: Path,
    cells: Sequence[tuple[str, Nodes, Sequence[int]]],
    *,
    inputs: Sequence[str] = INPUTS,
    output: str = "concat",
) -> list[Path]:
    """Draws cells one above the other; the SVG gets the PNG's name, and both paths are returned.

    Args:
        path: Of the PNG.
        cells: For each a heading, its nodes, and the nodes that make its output.
        inputs: Names of what comes before the nodes, whose numbers go on from there.
        output: Operation on the nodes of the output.
    """
    paths = [path.with_suffix(".png"), path.with_suffix(".svg")]
    for target in paths:
        graphs(target, cells, inputs, output)
    return paths


@Drawing
def graphs(
    figure: Figure,
    cells: Sequence[tuple[str, Nodes, Sequence[int]]],
    inputs: Sequence[str] = INPUTS,
    output: str = "concat",
) -> None:
    """The figure of `cell_graphs`."""
    most = max(len(nodes) for _, nodes, _ in cells)
    edges = max(sum(map(len, nodes)) for _, nodes, _ in cells)
    width, height = _column(len(inputs) + most, len(inputs)) + 0.75, 0.9 + 0.31 * edges
    names = list(dict.fromkeys(op for _, nodes, _ in cells for node in nodes for op, _ in node))
    colors = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
    for place, (heading, nodes, concat) in enumerate(cells):
        axes = panel(figure, width, height, top=place * (height + 0.45))
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.set_title(heading, loc="left", fontsize=FONT + 1, fontweight="bold")
        _draw(axes, nodes, concat, height, colors, inputs, output)


def _column(number: int, inputs: int) -> float:
    """Inches from the left of a node; the output is one past the last."""
    if number < inputs:
        return 0.35 + 0.55 * number
    return 0.35 + 0.55 * (inputs - 1) + _STEP * (number - inputs + 0.75)


def _draw(
    axes: Axes, nodes: Nodes, concat: Sequence[int], height: float, colors: Mapping[str, str],
    inputs: Sequence[str], combined: str,
) -> None:  # fmt: skip
    """One lane per edge: a thin line from its source's column to its target's, with its name."""
    first = len(inputs)
    *columns, output = (_column(number, first) for number in range(first + len(nodes) + 1))
    names = [*inputs, *(str(i) for i in range(first, first + len(nodes))), "out"]
    for x, name in zip([*columns, output], names, strict=True):
        axes.plot([x, x], [0.34, height - 0.1], color=SHADE, linewidth=9, zorder=0,
                  solid_capstyle="round")  # fmt: skip
        axes.text(x, 0.14, name, ha="center", va="center", color=INK, fontweight="bold")
    lane = 0.5
    for number, edges in enumerate(nodes, start=first):
        for operation, source in edges:
            start, end = columns[source], columns[number]
            _arrow(axes, start, end, lane, colors[operation], operation)
            lane += 0.31
    for node in concat:
        _arrow(axes, columns[node], output, lane, QUIET, "")
    axes.text(output + 0.14, lane, combined, va="center", color=QUIET, fontsize=FONT - 1)


def _arrow(axes: Axes, start: float, end: float, lane: float, color: str, text: str) -> None:
    axes.annotate(
        "", (end - 0.06, lane), (start, lane),
        arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1.4, "shrinkA": 0,
                    "shrinkB": 0},
    )  # fmt: skip
    axes.plot([start], [lane], marker="o", markersize=4, color=color)
    if text:
        axes.text(end - 0.16, lane - 0.09, text, ha="right", va="center", color=color,
                  fontsize=FONT - 1)  # fmt: skip
