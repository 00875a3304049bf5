"""The figures of a job on images, drawn from their data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sif import plots
from sif.spaces.cnn.cells import INPUTS, edge_nodes, edge_sources
from sif.spaces.cnn.supercell import STEPS
from sif.spaces.cnn.supernet import SPECS
from sif.tasks.curves import draw_curves

METRIC = "error"


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draws cells, gates, and validation of searches and trainings; returns the paths."""
    paths: list[Path] = []
    for name, pair in document["cells"].items():
        cells = [(f"{name}: {kind} cell", c["nodes"], c["concat"]) for kind, c in pair.items()]
        paths += plots.cell_graphs(cells, folder / f"cells-{name}.png")
    space = document["space"]
    return [*paths, *draw_curves(document, METRIC, lambda trained: strips(space, trained), folder)]


def strips(space: str, trained: Mapping[str, Sequence[int]]) -> list[plots.Strips]:
    """Both cells' edges with how often each operation trained."""
    edges = [
        (source, node + INPUTS)
        for source, node in zip(edge_sources(STEPS), edge_nodes(STEPS), strict=True)
    ]
    return [plots.Strips(b, SPECS[space][b], edges, trained[b]) for b in trained]
