"""The figures of a job on images, collected into one JSON file from which they are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sif import plots
from sif.config.cnn import CNNConfig
from sif.genotype import Genotype
from sif.spaces.cnn import cells_of
from sif.tasks.report import Entry
from sif.verdict import Verdict

METRIC = "error"


def figure_data(
    config: CNNConfig,
    found: Mapping[str, Mapping[str, Any]],
    genotypes: Mapping[str, Genotype],
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
                for kind, cell in vars(cells_of(genotype)).items()
            }
            for name, genotype in genotypes.items()
        },
        "training": {
            name: [(point["seconds"], point[METRIC]) for point in state["history"]]
            for name, state in trained.items()
        },
        "search": {
            name: [[e["seconds"], e["loss"], e["valid_loss"]] for e in state["history"]]
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
    """Draws cells as graphs and validation against seconds; returns the paths."""
    paths: list[Path] = []
    for name, pair in document["cells"].items():
        cells = [(f"{name}: {kind} cell", c["nodes"], c["concat"]) for kind, c in pair.items()]
        paths += plots.cell_graphs(cells, folder / f"cells-{name}.png")
    plots.validation_against_seconds(document["training"], METRIC, folder / "training.png")
    return [*paths, folder / "training.png"]
