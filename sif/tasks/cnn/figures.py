"""The figures of a job on images, collected into one JSON file from which they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sif import plots
from sif.config.cnn import CNNConfig
from sif.problems.images import EXPORTED
from sif.spaces.cnn.cells import INPUTS, edge_nodes, edge_sources
from sif.spaces.cnn.supercell import STEPS
from sif.spaces.cnn.supernet import SPECS
from sif.tasks.cells.figures import curves, draw_curves
from sif.tasks.cells.work import Results

METRIC = "error"


def figure_data(config: CNNConfig, results: Results) -> dict[str, Any]:
    """Everything that is shown."""
    return {
        "task": "cnn",
        "cells": {
            name: {
                kind: {"nodes": cell.nodes, "concat": cell.concat}
                for kind, cell in vars(pair).items()
            }
            for name, pair in results.designs.items()
        },
        **curves(results, METRIC, EXPORTED, config),
        "space": config.space,
    }  # fmt: skip


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draws cells, gates, and validation of searches and trainings; returns the paths."""
    paths: list[Path] = []
    for name, pair in document["cells"].items():
        cells = [(f"{name}: {kind} cell", c["nodes"], c["concat"]) for kind, c in pair.items()]
        paths += plots.cell_graphs(folder / f"cells-{name}.png", cells)
    space = document["space"]
    return [*paths, *draw_curves(document, METRIC, lambda trained: strips(space, trained), folder)]


def strips(space: str, trained: Mapping[str, Sequence[int]]) -> list[plots.Strips]:
    """Both cells' edges with how often each operation trained."""
    edges = [
        (source, node + INPUTS)
        for source, node in zip(edge_sources(STEPS), edge_nodes(STEPS), strict=True)
    ]
    return [plots.Strips(b, SPECS[space][b], edges, trained[b]) for b in trained]
