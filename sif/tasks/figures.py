"""Figures of a job, drawn from data that are kept to draw them again: `plots/figures.json`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sif import plots
from sif.errors import DataError
from sif.problems.base import Problem
from sif.search.history import shared_entries
from sif.tasks.base import Results
from sif.utils.checkpoint import finite_document, read_json, with_nan, write_json_atomic
from sif.utils.optional import library

DATA = "figures.json"

Draw = Callable[[Mapping[str, Any], Path], list[Path]]
"""Data and folder to the paths of the figures."""


def save_and_draw(folder: Path, document: Mapping[str, Any], draw: Draw) -> list[Path]:
    """Saves the data of all figures, then draws them.

    Raises:
        ConfigError: matplotlib is not installed; the data have been saved.
        DataError: They cannot be drawn.
    """
    folder.mkdir(exist_ok=True)
    write_json_atomic(folder / DATA, finite_document(document, {}))
    return draw_again(folder, draw)


def draw_again(folder: Path, draw: Draw) -> list[Path]:
    """Draws figures from their saved data.

    Raises:
        DataError: The data are missing or damaged.
        ConfigError: matplotlib is not installed.
    """
    path = folder / DATA
    document = read_json(path)
    library("matplotlib", "figures")
    try:
        with warnings.catch_warnings():  # of axes without a range and the like
            warnings.simplefilter("ignore")
            return draw(with_nan(document), folder)
    except Exception as error:  # a damaged document may break any line of the drawing
        told = f"{type(error).__name__}: {error}"
        raise DataError(f"{path}: cannot be drawn: {told}") from error


def curves(problem: Problem[Any, Any], results: Results) -> dict[str, Any]:
    """Data of trainings, searches, gates and the comparison.

    Args:
        problem: Names the metrics.
        results: Of the job.
    """
    shown, judged = problem.shown, problem.judged
    return {
        "training": {
            name: [(p["seconds"], p[shown]) for p in trained.result.history if shown in p]
            for name, trained in results.trained.items()
        },
        "search": {
            series: [(seconds, value) for seconds, value in points if math.isfinite(value)]
            for name, found in results.found.items()
            for series, points in _judgments(name, found.history, judged).items()
        },
        "gates": {
            name: {
                "selections": [e["selection"] for e in shared_entries(found.history)],
                "trained": {b: t.sum(dim=0).tolist() for b, t in found.trained.items()},
                "warmup": found.resting,
            }
            for name, found in results.found.items()
        },
        "fronts": {n: found.front for n, found in results.found.items() if found.front},
        "comparison": {
            name: {
                "valid": entry.valid[shown], "test": entry.test.metrics[shown],
                "parameters": entry.params["parameters"],
            }
            for name, entry in results.entries.items()
        },
        "reference": results.verdict.against,
    }  # fmt: skip


def _judgments(
    name: str, history: Sequence[Mapping[str, Any]], judged: str
) -> dict[str, list[tuple[float, float]]]:
    """Seconds and judgments of a search; those of a finish, whose weights are others, apart."""
    points = [(entry["seconds"], entry["judged"][judged]) for entry in history]
    before = len(shared_entries(history))
    series = {name: points[:before], f"{name}, finish": points[before:]}
    return {name: points for name, points in series.items() if points}


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
    for name, front in document.get("fronts", {}).items():  # none in earlier versions
        paths.append(folder / f"front-{name}.png")
        plots.search_front(paths[-1], front)
    paths.append(folder / "training.png")
    plots.validation_against_seconds(paths[-1], document["training"], metric)
    if document["search"]:
        paths.append(folder / "search.png")
        plots.validation_against_seconds(
            paths[-1], document["search"], metric, clock="search time (seconds)", of=" if exported"
        )
    return paths
