"""The figures of a job on images, collected into one JSON file from which they are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sif import plots
from sif.config.cnn import CNNConfig
from sif.spaces.cells import INPUTS, Cells, edge_nodes, edge_sources
from sif.spaces.cnn import SPECS
from sif.spaces.cnn_cell import STEPS
from sif.tasks.cnn_report import METRIC
from sif.tasks.report import Entry
from sif.verdict import Verdict
from sif.vision import EXPORTED


def figure_data(
    config: CNNConfig,
    found: Mapping[str, Mapping[str, Any]],
    cells: Mapping[str, Cells],
    trained: Mapping[str, Mapping[str, Any]],
    entries: Mapping[str, Entry],
    decision: Verdict,
) -> dict[str, Any]:
    """Everything that is shown."""
    return {
        "task": "cnn",
        "cells": {
            name: {
                kind: {"nodes": cell.nodes, "concat": cell.concat}
                for kind, cell in vars(pair).items()
            }
            for name, pair in cells.items()
        },
        "training": {
            name: [(point["seconds"], point[METRIC]) for point in state["history"]]
            for name, state in trained.items()
        },
        "search": {
            name: [(e["seconds"], e["judged"][EXPORTED]) for e in state["history"]]
            for name, state in found.items()
        },
        "gates": {
            name: {
                "selections": [e["selection"] for e in state["history"]],
                "trained": {b: t.sum(dim=0).tolist() for b, t in state["trained"].items()},
                "warmup": config.search.warmup_epochs if state["warms_up"] else 0,
            }
            for name, state in found.items()
        },
        "comparison": {
            name: {
                "valid": entry.valid[METRIC], "test": entry.test.metrics[METRIC],
                "parameters": entry.params["parameters"],
            }
            for name, entry in entries.items()
        },
        "reference": decision.against,
        "space": config.space,
    }  # fmt: skip


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draws cells, gates, and validation of searches and trainings; returns the paths."""
    paths: list[Path] = []
    for name, pair in document["cells"].items():
        cells = [(f"{name}: {kind} cell", c["nodes"], c["concat"]) for kind, c in pair.items()]
        paths += plots.cell_graphs(cells, folder / f"cells-{name}.png")
    for name, gates in document["gates"].items():
        paths.append(folder / f"gates-{name}.png")
        plots.gate_trajectories(
            [{"selection": selection} for selection in gates["selections"]],
            strips(document["space"], gates["trained"]),
            paths[-1],
            warmup=gates["warmup"],
        )
    plots.validation_against_seconds(document["training"], METRIC, folder / "training.png")
    paths.append(folder / "training.png")
    if not document["search"]:
        return paths
    plots.validation_against_seconds(
        document["search"], METRIC, folder / "search.png", clock="search time (seconds)",
        of=" if exported",
    )  # fmt: skip
    return [*paths, folder / "search.png"]


def strips(space: str, trained: Mapping[str, list[int]]) -> list[plots.Strips]:
    """Both cells' edges with how often each operation trained."""
    edges = [
        (source, node + INPUTS)
        for source, node in zip(edge_sources(STEPS), edge_nodes(STEPS), strict=True)
    ]
    return [plots.Strips(b, SPECS[space][b], edges, trained[b]) for b in trained]
