"""The results of the trials of a bench as two tidy tables."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sif.bench.folder import BenchFolder
from sif.bench.plan import Plan, Trial
from sif.bench.state import State
from sif.evaluation.metrics import higher_is_better
from sif.tasks import search_history
from sif.utils.checkpoint import read_json, write_bytes_atomic

RESULTS, CURVES = "results", "curves"
_RESULT_COLUMNS = (
    "method", "seed", "status", "reason", "genotype", "metric", "search_seconds", "search_steps",
    "arch_steps", "search_wall_seconds", "train_seconds", "total_seconds", "parameters",
    "peak_memory_mb", "split_hash", "search_l2",
)  # fmt: skip
_CURVE_COLUMNS = ("method", "seed", "seconds", "steps", "judged", "best", "of", "selection")


def gather(folder: BenchFolder, plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads all trials.

    Returns:
        One row per trial, also of those that have no result, in the order of the plan: what it is,
        how it ended, `valid.<metric>` and `test.<metric>` of the pick trained from scratch, seconds
        and sizes. And one row per judged point of a finished trial's search: seconds of the search,
        the validation of the selection at that time ("judged", by the metric "of") and of the best
        so far.

    Raises:
        DataError, CheckpointError: A finished trial's files cannot be read.
    """
    rows, points = [], list[dict[str, Any]]()
    for entrant in plan.entrants:
        for seed in plan.seeds:
            trial = Trial(entrant, seed)
            refused = plan.refused.get(entrant.name)
            state = folder.state(trial) if refused is None else State("refused", refused)
            row: dict[str, Any] = {"method": entrant.name, "seed": seed}
            row |= {"status": state.status, "reason": state.reason}
            if state.status == "finished":
                row |= result_of(folder.run(trial))
                points += curve_of(folder.run(trial), entrant.name, seed)
            rows.append(row)
    results = pd.DataFrame(rows)
    metrics = sorted(c for c in results.columns if c.startswith(("valid.", "test.")))
    return (
        results.reindex(columns=[*_RESULT_COLUMNS, *metrics]),
        pd.DataFrame(points, columns=list(_CURVE_COLUMNS)),
    )


def result_of(run: Path) -> dict[str, Any]:
    """The numbers of a finished job, by column."""
    document = read_json(run / "metrics.json")
    search, train = document["search"], document["train"]
    return {
        "genotype": document["genotype"],
        "metric": document["metric"],
        "search_seconds": _seconds(search),
        "search_wall_seconds": search["seconds"],
        "search_steps": search["steps"],
        "arch_steps": search.get("arch_steps"),
        "train_seconds": train["seconds"],
        "total_seconds": document["total_seconds"],
        "parameters": train.get("parameters"),
        "peak_memory_mb": search.get("peak_memory_mb"),
        "search_l2": search.get("l2"),
        "split_hash": read_json(run / "environment.json")["split_hash"],
        **{f"{part}.{k}": v for part in ("valid", "test") for k, v in document[part].items()},
    }


def curve_of(run: Path, method: str, seed: int) -> list[dict[str, Any]]:
    """The judged points of a job's search, the better of all so far beside each."""
    points: list[dict[str, Any]] = []
    best: float | None = None
    for entry in search_history(run):
        found = judgment(entry)
        if found is None:
            continue
        name, value = found
        better = max if higher_is_better(name) else min
        best = value if best is None else better(best, value)
        points.append({
            "method": method, "seed": seed, "seconds": _seconds(entry),
            "steps": entry.get("steps"), "judged": value, "best": best, "of": name,
            "selection": json.dumps(entry.get("selection")),
        })  # fmt: skip
    return points


def judgment(entry: Mapping[str, Any]) -> tuple[str, float] | None:
    """Metric and value by which validation judged a selection; None where it did not.

    Searches for cells name the metric of a selection with the search's weights `exported_<metric>`.
    """
    for name, value in entry.get("judged", {}).items():
        if not math.isfinite(value):
            return None
        return str(name).removeprefix("exported_"), float(value)
    return None


def _seconds(found: Mapping[str, Any]) -> float:
    """CPU seconds of a search, or of one thread's wall time where those were not counted."""
    return float(found.get("cpu_seconds", found["seconds"]))


def write(table: pd.DataFrame, folder: Path, name: str) -> None:
    """Writes a table as Parquet and as CSV.

    Raises:
        CheckpointError: The files cannot be written.
    """
    write_bytes_atomic(folder / f"{name}.parquet", table.to_parquet(index=False))
    write_bytes_atomic(folder / f"{name}.csv", table.to_csv(index=False).encode())
