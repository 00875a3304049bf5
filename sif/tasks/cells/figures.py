"""Figures that contests of all kinds of cells share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sif import plots
from sif.config import CommonConfig
from sif.methods.registry import configured
from sif.tasks.cells.entrants import SEARCHED
from sif.tasks.cells.work import Results


def curves(results: Results, metric: str, judged: str, config: CommonConfig) -> dict[str, Any]:
    """Data of trainings, searches, gates and the comparison.

    Args:
        results: Of the contest.
        metric: Of validation, in histories of trainings and in entries.
        judged: Name of what searches are judged by.
        config: Of the job; gives the methods and their settings.
    """
    return {
        "training": {
            name: [(point["seconds"], point[metric]) for point in state["history"]]
            for name, state in results.trained.items()
        },
        "search": {
            name: [
                (e["seconds"], e["judged"][judged])
                for e in state["history"]
                if math.isfinite(e["judged"][judged])
            ]
            for name, state in results.found.items()
        },
        "gates": {
            name: {
                "selections": [e["selection"] for e in state["history"]],
                "trained": {b: t.sum(dim=0).tolist() for b, t in state["trained"].items()},
                "warmup": round(_resting_share(name, config) * len(state["history"])),
            }
            for name, state in results.found.items()
        },
        "comparison": {
            name: {
                "valid": entry.valid[metric], "test": entry.test.metrics[metric],
                "parameters": entry.params["parameters"],
            }
            for name, entry in results.entries.items()
        },
        "reference": results.decision.against,
    }  # fmt: skip


def _resting_share(entrant: str, config: CommonConfig) -> float:
    """Share of an entrant's search in which alpha rests."""
    method = config.method if entrant == SEARCHED else entrant
    return configured(method, config.methods).settings.resting_share


def draw_curves(
    document: Mapping[str, Any],
    metric: str,
    strips: Callable[[Mapping[str, Sequence[int]]], Sequence[plots.Strips]],
    folder: Path,
) -> list[Path]:
    """Draws the gates of every search, and validation of searches and trainings.

    Args:
        document: Has what `curves` made.
        metric: Name of the metric.
        strips: Weight steps by block and operation to what the gates' figure shows.
        folder: Of the PNGs.
    """
    paths = []
    for name, gates in document["gates"].items():
        paths.append(folder / f"gates-{name}.png")
        history = [{"selection": selection} for selection in gates["selections"]]
        shown = strips(gates["trained"])
        plots.gate_trajectories(paths[-1], history, shown, warmup=gates["warmup"])
    paths.append(folder / "training.png")
    plots.validation_against_seconds(paths[-1], document["training"], metric)
    if document["search"]:
        paths.append(folder / "search.png")
        plots.validation_against_seconds(
            paths[-1], document["search"], metric, clock="search time (seconds)", of=" if exported"
        )
    return paths
