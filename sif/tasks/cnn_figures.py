"""The figures of a job on images, collected into one JSON file from which they are drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sif import plots
from sif.checkpoint import write_json_atomic
from sif.config.cnn import CNNConfig
from sif.errors import ConfigError, DataError
from sif.genotype import Genotype
from sif.spaces.cnn import cells_of
from sif.tasks.report import Entry
from sif.verdict import Verdict

DATA = "figures.json"
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


def draw_all(folder: Path, document: Mapping[str, Any]) -> list[Path]:
    """Saves the data and draws.

    Raises:
        ConfigError: matplotlib is not installed; the data have been saved.
    """
    folder.mkdir(exist_ok=True)
    write_json_atomic(folder / DATA, document)
    return _draw(folder, document)


def redraw(folder: Path) -> list[Path]:
    """Draws the figures of a finished run again from their saved data.

    Raises:
        DataError: The data are missing or damaged.
        ConfigError: matplotlib is not installed.
    """
    path = folder / DATA
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: figure data cannot be read: {error}") from None
    return _draw(folder, document)


def _draw(folder: Path, document: Mapping[str, Any]) -> list[Path]:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError(
            "figures: expected the package matplotlib (pip install matplotlib), found none"
        ) from None
    paths: list[Path] = []
    for name, pair in document["cells"].items():
        cells = [(f"{name}: {kind} cell", c["nodes"], c["concat"]) for kind, c in pair.items()]
        paths += plots.cell_graphs(cells, folder / f"cells-{name}.png")
    plots.validation_against_seconds(document["training"], METRIC, folder / "training.png")
    return [*paths, folder / "training.png"]
