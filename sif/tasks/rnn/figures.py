"""The figures of a job on text, collected into one JSON file from which they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sif import plots
from sif.config.rnn import RNNConfig
from sif.problems.text import EXPORTED
from sif.spaces.rnn.cells import ACTIVATIONS, RecurrentCell, edge_nodes, edge_sources
from sif.spaces.rnn.supernet import BLOCK
from sif.tasks.cells.figures import curves, draw_curves
from sif.tasks.cells.work import Results

METRIC = "perplexity"


def figure_data(config: RNNConfig, results: Results) -> dict[str, Any]:
    """Everything that is shown."""
    return {
        "task": "rnn",
        "cells": {
            name: {"nodes": cell.nodes, "output": cell.output}
            for name, cell in results.designs.items()
            if isinstance(cell, RecurrentCell)
        },
        "nodes": config.search.nodes,
        **curves(results, METRIC, EXPORTED, config),
    }


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draws cells, gates, and validation of searches and trainings; returns the paths."""
    paths: list[Path] = []
    for name, cell in document["cells"].items():
        nodes = [[(activation, state)] for activation, state in cell["nodes"]]
        shown = [(f"{name}: recurrent cell", nodes, cell["output"])]
        path = folder / f"cell-{name}.png"
        paths += plots.cell_graphs(path, shown, inputs=("x, h",), output="mean")
    count = document["nodes"]

    def strips(trained: Mapping[str, Sequence[int]]) -> list[plots.Strips]:
        edges = list(zip(edge_sources(count), (n + 1 for n in edge_nodes(count)), strict=True))
        return [plots.Strips(BLOCK, tuple(ACTIVATIONS), edges, trained[BLOCK])]

    return [*paths, *draw_curves(document, METRIC, strips, folder)]
