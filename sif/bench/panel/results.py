"""The results of a panel's jobs: a row per job, a line per data set, and what ranks are made of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sif import tasks
from sif.bench.panel.entries import Entry
from sif.bench.panel.plan import PanelFolder, PanelPlan, PanelTrial
from sif.bench.panel.ranks import UserSums
from sif.bench.statistics import Estimate, estimate
from sif.evaluation.evaluate import Evaluation
from sif.evaluation.metrics import higher_is_better, merit
from sif.problems.base import SEARCHED
from sif.utils.checkpoint import read_json

SERVED = "served"
"""In ranks, the model that a job has served, whichever it is."""
TRIALS = (
    "data", "seed", "status", "message", "protocol", "rows", "users", "items", "metric", "served",
    "served_value", "searched", "searched_value", "baseline", "baseline_value", "seconds",
    "peak_memory_mb", "found", "outcome", "verdict", "split_hash",
)  # fmt: skip
"""Columns of the table of jobs."""


@dataclass(frozen=True)
class Line:
    """A data set in the table, over its seeds.

    Attributes:
        entry: The data set.
        seeds: Finished jobs.
        status: "finished", "failed" (one job at least) or "pending".
        message: Of a failure, or how many jobs have not finished.
        first: Row of its first finished job; empty without one.
        served: Names of the served models, with their numbers of seeds where they differ.
        served_value: Their test metric.
        searched: Names of the entrants that the searched value is of: "searched", or what stands
            for it.
        searched_value: Test metric of the searched function, or of what stands for it.
        baseline: Names of the baselines that validation ranks best.
        baseline_value: Their test metric.
        seconds: Of a job.
        peak_memory_mb: Most that a job had at once.
        found: The searched function in words.
        verdict: On the search.
    """

    entry: Entry
    seeds: int
    status: str
    message: str
    first: dict[str, Any]
    served: str
    served_value: Estimate
    searched: str
    searched_value: Estimate
    baseline: str
    baseline_value: Estimate
    seconds: Estimate
    peak_memory_mb: float
    found: str
    verdict: str


def gather(folder: PanelFolder, plan: PanelPlan) -> pd.DataFrame:
    """One row per job, also of those without a result, data set by data set.

    Raises:
        DataError: Files of a finished job cannot be read.
    """
    rows = []
    for entry in plan.entries:
        for seed in plan.seeds:
            trial = PanelTrial(entry, seed)
            state = folder.state(trial)
            row: dict[str, Any] = {"data": entry.name, "seed": seed, "status": state.status}
            row |= {"message": state.reason, "metric": entry.metric}
            if state.status == "finished":
                row |= result_of(folder.run(trial), entry.metric)
            seen = [row.get("peak_memory_mb"), state.peak_memory_mb]
            row["peak_memory_mb"] = max([one for one in seen if one is not None], default=math.nan)
            rows.append(row)
    return pd.DataFrame(rows, columns=list(TRIALS))


def result_of(run: Path, metric: str) -> dict[str, Any]:
    """The numbers of a finished job, by column.

    Args:
        run: Run folder.
        metric: Of its test part, that is shown.
    """
    document = read_json(run / "metrics.json")
    protocol, comparison = document["protocol"], document["comparison"]
    served, against = document["served"], comparison and comparison["against"]
    search = document["search"] or {}  # it may have been spared
    return {
        "protocol": protocol["name"],
        "rows": sum(protocol["counts"].values()),
        "users": protocol["sizes"]["user"],
        "items": protocol["sizes"]["item"],
        "served": served["name"],
        "served_value": _number(served["test"][metric]),
        "searched": document.get("entrant", SEARCHED),  # which earlier versions did not say
        "searched_value": _number(document["test"][metric]),
        "baseline": against,
        "baseline_value": _number(document["baselines"][against][metric] if against else None),
        "seconds": document["total_seconds"],
        "peak_memory_mb": search.get("peak_memory_mb"),
        "found": document["genotype"],
        "outcome": comparison and comparison["outcome"],
        "verdict": document["verdict"],
        "split_hash": protocol["split_hash"],
    }


def lines(trials: pd.DataFrame, plan: PanelPlan) -> list[Line]:
    """One line per data set, in the order of the plan."""
    return [_line(entry, trials[trials["data"] == entry.name]) for entry in plan.entries]


def _line(entry: Entry, trials: pd.DataFrame) -> Line:
    done = trials[trials["status"] == "finished"]
    failed = trials[trials["status"] == "failed"]
    status, message = "finished", ""
    if len(failed):
        status, message = "failed", "; ".join(dict.fromkeys(failed["message"]))
    elif len(done) < len(trials):
        status, message = "pending", f"{len(done)} of {len(trials)} jobs finished"
    return Line(
        entry,
        len(done),
        status,
        message,
        {} if done.empty else dict(done.iloc[0]),
        _named(done["served"]),
        estimate(done["served_value"].astype(float)),
        _named(done["searched"]),
        estimate(done["searched_value"].astype(float)),
        _named(done["baseline"]),
        estimate(done["baseline_value"].astype(float)),
        estimate(done["seconds"].astype(float)),
        float(done["peak_memory_mb"].max()) if len(done) else math.nan,
        "; ".join(dict.fromkeys(done["found"])),
        _verdict(done),
    )


def _named(names: pd.Series) -> str:
    """Names in the order of their numbers, which stand with them where they differ."""
    counts = Counter(names.dropna())
    if len(counts) == 1:
        return str(next(iter(counts)))
    return ", ".join(f"{name} ({count})" for name, count in counts.most_common())


def _verdict(done: pd.DataFrame) -> str:
    """That of the only job, or how often the search was ahead."""
    if len(done) < 2:
        return "" if done.empty else str(done["verdict"].iloc[0])
    relation = {"better": "better than", "worse": "worse than", "undecided": "undecided against"}
    told = Counter(
        f"{relation[row.outcome]} {row.baseline}" if isinstance(row.outcome, str) else "no verdict"
        for row in done.itertuples()
    )
    texts = [f"{what} in {count}" for what, count in told.most_common()]
    return f"{', '.join(texts)} of {len(done)} seeds"


def finished_runs(
    folder: PanelFolder, trials: pd.DataFrame, plan: PanelPlan
) -> dict[str, list[Path]]:
    """Data set to the run folders of its finished jobs; those without one are left out."""
    found: dict[str, list[Path]] = {}
    for entry in plan.entries:
        own = trials[(trials["data"] == entry.name) & (trials["status"] == "finished")]
        runs = [folder.run(PanelTrial(entry, int(seed))) for seed in own["seed"]]
        if runs:
            found[entry.name] = runs
    return found


def merits(runs: dict[str, list[Path]], plan: PanelPlan) -> pd.DataFrame:
    """Test metrics, turned so that more is better: data sets down, models across.

    They are means over the finished jobs of a data set; NaN where one of these lacks the model.
    """
    rows: dict[str, dict[str, float]] = {}
    for entry in plan.entries:
        if entry.name not in runs:
            continue
        tables = [_figures(run, entry.metric) for run in runs[entry.name]]
        known = [name for name in tables[0] if all(name in table for table in tables)]
        rows[entry.name] = {
            name: float(np.mean([merit(entry.metric, table[name]) for table in tables]))
            for name in known
        }
    found = pd.DataFrame.from_dict(rows, orient="index", dtype=float)
    return found.replace([np.inf, -np.inf], np.nan)


def _figures(run: Path, metric: str) -> dict[str, float]:
    """Every model's test metric, that of the served one once more."""
    document = read_json(run / "metrics.json")
    found = {SERVED: document["served"]["test"][metric], SEARCHED: document["test"][metric]}
    found |= {name: one[metric] for name, one in document["baselines"].items()}
    return {name: _number(value) for name, value in found.items()}


def user_sums(
    runs: dict[str, list[Path]], models: Sequence[str], plan: PanelPlan
) -> dict[str, list[UserSums]]:
    """Data set to the sums of its users, a value per finished job; models as `merits` has them.

    Raises:
        CheckpointError: The stages of a job cannot be read.
    """
    metric = {entry.name: entry.metric for entry in plan.entries}
    found = {
        name: [_sums(run, models, metric[name]) for run in folders]
        for name, folders in runs.items()
    }
    return {
        name: [one for one in sums if one is not None]
        for name, sums in found.items()
        if None not in sums
    }


def _sums(run: Path, models: Sequence[str], metric: str) -> UserSums | None:
    """Of one job; None where its stages lack the values of users."""
    known = tasks.evaluations_of(run)
    served = read_json(run / "metrics.json")["served"]["name"]
    if served in known:
        known[SERVED] = known[served]
    if SEARCHED not in known:
        return None
    ours = known[SEARCHED]
    parts = {name: _parts(one, metric) for name, one in known.items()}
    nothing = np.full(len(ours.users), np.nan)
    above = [parts[name][0] if name in parts else nothing for name in models]
    return UserSums(ours.users, np.stack(above, axis=1), parts[SEARCHED][1])


def _parts(evaluation: Evaluation, metric: str) -> tuple[Any, Any]:
    """Numbers that users add above and below the metric's ratio, turned so that more is better."""
    users = evaluation.per_user
    if metric in users:
        sign = 1.0 if higher_is_better(metric) else -1.0
        return sign * users[metric], np.ones(len(evaluation.users))
    errors = users["absolute_error" if metric == "mae" else "squared_error"]
    return -errors, users["count"]


def _number(value: float | None) -> float:
    """JSON has no NaN."""
    return math.nan if value is None else float(value)
