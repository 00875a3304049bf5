"""One table and two pictures of the runs of a job on cells that differ in their seed.

Reads finished run folders (`metrics.json`, `plots/figures.json`). Pictures are medians over seeds,
as far as the shortest run goes: searches, and trainings behind the seconds of their search. The
table has means.

    python benchmarks/seeds_report.py runs/a runs/b runs/c --table FILE.csv --pictures docs/img
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sif import plots

Combination = tuple[float, float]
OURS = "searched"
METRICS = {"rnn": "perplexity", "cnn": "error"}


class Run:
    """The content of one run folder."""

    def __init__(self, folder: Path) -> None:
        self.document: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
        self.figures: dict[str, Any] = json.loads((folder / "plots/figures.json").read_text())
        self.metric = METRICS[self.document["task"]]

    def rows(self) -> list[dict[str, object]]:
        """One per network."""
        ours = self.document | self.document["test"]
        entries = {OURS: ours | {"params": ours["train"], "seconds": ours["train"]["seconds"]}}
        return [self._row(name, e) for name, e in (entries | self.document["baselines"]).items()]

    def _row(self, name: str, entry: Mapping[str, Any]) -> dict[str, object]:
        found = entry["search"] or {}
        judged = [value for key, value in found.items() if key.startswith("exported_")]
        return {
            "seed": self.document["seed"], "network": name,
            "parameters": entry["params"]["parameters"],
            "search_seconds": round(entry["params"]["search_seconds"], 1),
            "train_seconds": round(entry["seconds"], 1),
            "exported": round(judged[0], 3) if judged else "",
            "valid": round(entry["valid"][self.metric], 3),
            "test": round(entry[self.metric], 3),
        }  # fmt: skip

    def training(self, name: str) -> list[Combination]:
        """Validation by seconds, those of the search before them."""
        (row,) = [r for r in self.rows() if r["network"] == name]
        first = float(str(row["search_seconds"]))
        return [(first + seconds, value) for seconds, value in self.figures["training"][name]]


def read(folders: Sequence[Path]) -> list[Run]:
    """Runs of one job.

    Raises:
        SystemExit: They differ in more than their seed.
    """
    runs = [Run(folder) for folder in folders]
    keys = ("task", "dataset", "method")
    kinds = {(*(r.document[k] for k in keys), *r.document["baselines"]) for r in runs}
    if len(kinds) != 1 or len({r.document["seed"] for r in runs}) < len(runs):
        raise SystemExit("expected runs of one job with different seeds, found several jobs")
    return runs


def median(curves: Sequence[Sequence[Combination]]) -> list[Combination]:
    """Point by point, as far as the shortest goes."""
    length = min(len(curve) for curve in curves)
    return [tuple(np.median([curve[i] for curve in curves], axis=0)) for i in range(length)]


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    deviation = f" +- {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{deviation}"


def tell(rows: Sequence[Mapping[str, Any]]) -> None:
    """The table of means on the terminal."""
    for name in dict.fromkeys(row["network"] for row in rows):
        found = [row for row in rows if row["network"] == name]
        columns = ("parameters", "search_seconds", "train_seconds", "exported", "valid", "test")
        told = [
            f"{column} {spread([float(row[column]) for row in found])}"
            for column in columns
            if found[0][column] != ""
        ]
        print(f"{name}: {len(found)} seeds, " + ", ".join(told))


def draw(runs: Sequence[Run], folder: Path) -> None:
    """Both pictures."""
    metric, task = runs[0].metric, runs[0].document["task"]
    folder.mkdir(parents=True, exist_ok=True)
    searches = {
        name: median([r.figures["search"][name] for r in runs])
        for name in runs[0].figures["search"]
    }
    plots.validation_against_seconds(
        folder / f"{task}-searches.png", searches, metric, clock="search time (seconds)",
        of=" if exported",
    )  # fmt: skip
    trainings = {
        name: median([r.training(name) for r in runs]) for name in runs[0].figures["training"]
    }
    plots.validation_against_seconds(
        folder / f"{task}-trainings.png", trainings, metric,
        clock="seconds of search and training",
    )  # fmt: skip


def main() -> None:
    """Writes the table and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="finished runs")
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    values = parser.parse_args()
    runs = read(values.folders)
    rows = [row for run in runs for row in run.rows()]
    values.table.parent.mkdir(parents=True, exist_ok=True)
    with values.table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    tell(rows)
    draw(runs, values.pictures)


if __name__ == "__main__":
    main()
