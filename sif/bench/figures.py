"""The figures of a bench, collected into one JSON file from which they are drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sif import plots
from sif.bench.plan import Plan
from sif.bench.report import Comparison

CLOCK = "search time (CPU seconds)"


def figure_data(
    found: Comparison, results: pd.DataFrame, curves: pd.DataFrame, plan: Plan
) -> dict[str, Any]:
    """Everything that is shown."""
    done = results[results["status"] == "finished"]
    column = f"test.{found.metric}"
    names = [entrant.name for entrant in plan.accepted]
    return {
        "anytime": {
            # One search may be judged by another metric than the trained pick, all by the same.
            "metric": None if curves.empty else str(curves["of"].iloc[0]),
            "curves": {name: _seeds(curves[curves["method"] == name]) for name in names},
        },
        "methods": {
            "metric": found.metric,
            "rows": [
                {
                    "name": line.method,
                    "values": done.loc[done["method"] == line.method, column].tolist(),
                    **{key: _plain(getattr(line.test, key)) for key in ("mean", "low", "high")},
                }
                for line in found.lines
            ],
        },
    }


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draws both figures from their data, as far as there are any; returns the paths."""
    anytime, methods = document["anytime"], document["methods"]
    paths = []
    if anytime["metric"] is not None:
        paths.append(folder / "anytime.png")
        plots.anytime_curves(paths[-1], anytime["curves"], anytime["metric"], clock=CLOCK)
    if methods["metric"] is not None:
        paths.append(folder / "methods.png")
        rows = [
            (r["name"], r["values"], *(_number(r[key]) for key in ("mean", "low", "high")))
            for r in methods["rows"]
        ]
        plots.method_points(paths[-1], rows, methods["metric"])
    return paths


def _seeds(curves: pd.DataFrame) -> list[list[tuple[float, float]]]:
    return [
        list(zip(part["seconds"].tolist(), part["best"].tolist(), strict=True))
        for _, part in curves.groupby("seed", sort=False)
    ]


def _plain(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
