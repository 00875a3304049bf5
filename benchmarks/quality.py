"""Measurements of finished jobs: means over seeds or splits, and paired intervals.

A job (`python run.py --task cf ...`) leaves every model's per-user test metrics in its run folder.
Jobs that are given together are means over seeds of one split, or over splits: per user first, then
the difference to each rival is bootstrapped over users (95 %). Nothing is trained or tested here.

    python benchmarks/quality.py RUN_FOLDER [RUN_FOLDER ...] [--output FILE.csv]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from table_files import write_table

from sif.evaluation.evaluate import MAIN_METRIC, Evaluation
from sif.evaluation.metrics import Interval, paired_bootstrap, paired_ratio_bootstrap
from sif.utils import checkpoint


def evaluations(folder: Path) -> dict[str, Evaluation]:
    """Model to its evaluation on the test part, from the stages of a finished job."""
    found = {}
    for path in sorted((folder / "checkpoint").glob("*.safetensors")):
        kind, _, name = path.stem.partition("-")
        if kind in ("test", "baseline", "refit"):
            state = checkpoint.load(path, "stage")["state"]
            if "test" in state:  # the first fit of a baseline that was fitted again has none
                found[name] = state["test"]
    return {name: Evaluation(**state) for name, state in found.items()}


def difference(ours: list[Evaluation], other: list[Evaluation], metric: str) -> Interval:
    """Paired interval of ours - other over users, after the mean over jobs."""
    users = sorted(set.intersection(*(set(e.users.tolist()) for e in [*ours, *other])))

    def summed(found: list[Evaluation], name: str) -> np.ndarray:
        rows = [e.per_user[name][np.searchsorted(e.users, users)] for e in found]
        return np.sum(rows, axis=0)

    if metric in ours[0].per_user:
        a, b = summed(ours, metric) / len(ours), summed(other, metric) / len(other)
        return paired_bootstrap(a, b, seed=0)
    a, b = summed(ours, "squared_error"), summed(other, "squared_error")
    return paired_ratio_bootstrap(a, b, summed(ours, "count"), seed=0, root=True)


def seconds(entry: dict[str, Any]) -> float:
    """Of search, fits over the grid and second fit of a model; some have not all of them."""
    fits = entry["train"]["seconds"] if "train" in entry else entry["seconds"]
    parts = (entry.get("search"), entry.get("refit"))
    return float(fits + sum(part.get("seconds", 0.0) for part in parts if part))


def rows_of(documents: list[dict[str, Any]], found: list[dict[str, Evaluation]]) -> list[dict]:
    """One row per model: mean and deviation of test and validation, and ours minus it."""
    objective = "ranking" if "ndcg@10" in documents[0]["test"] else "rating"
    metric = MAIN_METRIC[objective]
    rows = []
    for name in sorted(set.intersection(*(set(models) for models in found))):
        entries = [d if name == "searched" else d["baselines"][name] for d in documents]
        tests = np.array([f[name].metrics[metric] for f in found])
        valid = np.array([e["valid"][metric] for e in entries])
        spread = tests.std(ddof=1) if len(tests) > 1 else 0.0
        spent = np.mean([seconds(entry) for entry in entries])
        row = {"model": name, "valid": valid.mean(), "test": tests.mean(), "deviation": spread}
        row["seconds"] = spent
        if name != "searched":
            gap = difference([f["searched"] for f in found], [f[name] for f in found], metric)
            row |= {"searched minus it": gap.mean, "low": gap.low, "high": gap.high}
        rows.append(row)
    up = objective == "ranking"
    return sorted(rows, key=lambda r: -r["test"] if up else r["test"])


def main() -> None:
    """Prints a table of means and intervals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, help="CSV that receives the table")
    values = parser.parse_args()
    documents = [json.loads((f / "metrics.json").read_text()) for f in values.folders]
    rows = rows_of(documents, [evaluations(f) for f in values.folders])
    names = ("model", "valid", "test", "deviation", "seconds",
             "searched minus it", "low", "high")  # fmt: skip
    print("  ".join(f"{n:>17}" for n in names))
    for row in rows:
        cells = [row.get(n, "") for n in names]
        print("  ".join(f"{c:>17.4f}" if isinstance(c, float) else f"{c:>17}" for c in cells))
    for folder, document in zip(values.folders, documents, strict=True):
        print(f"{folder.name}: {document['genotype']}, {document['total_seconds']:.0f} s")
    if values.output:
        write_table(values.output, rows, names, form=".5f")


if __name__ == "__main__":
    main()
