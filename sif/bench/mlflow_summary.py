"""The bench in MLflow: one summary run, in which those of its trials are nested."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sif.bench.plan import Plan
from sif.bench.report import Comparison
from sif.tracking import MlflowTracker, NullTracker, Tracker
from sif.tracking.base import closed_with_status
from sif.utils.checkpoint import write_json_atomic

_STATE = "tracking.json"
_FILES = ("report.md", "results.csv", "results.parquet", "curves.csv", "curves.parquet",
          "bench.yaml", "job.yaml")  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """The open summary run.

    Attributes:
        tracker: Of the run.
        folder: Of the bench.
        run_id: In which trials are nested; None without a store.
    """

    tracker: Tracker
    folder: Path
    run_id: str | None

    def record(self, results: pd.DataFrame, found: Comparison) -> None:
        """Takes the comparison, and the files of the bench."""
        _record(self.tracker, self.folder, results, found)


@contextlib.contextmanager
def summary(folder: Path, plan: Plan, experiment: str) -> Iterator[Summary]:
    """Opens the summary run, or that of an earlier sitting.

    It comes before the trials, so that the experiment is there when they start side by side.

    Args:
        folder: Of the bench; keeps which run it is.
        plan: Gives the parameters, and whether there is tracking.
        experiment: In which everything is.

    Yields:
        The run.
    """
    tracker = _open(folder, plan, experiment)
    run_id = tracker.run_id if isinstance(tracker, MlflowTracker) else None
    with closed_with_status(tracker):
        yield Summary(tracker, folder, run_id)


def _open(folder: Path, plan: Plan, experiment: str) -> Tracker:
    tracking = plan.job.tracking
    if not tracking.enabled:
        return NullTracker()
    path = folder / _STATE
    state: dict[str, Any] | None = None
    with contextlib.suppress(OSError, ValueError):  # without it there is one summary run more
        state = json.loads(path.read_text(encoding="utf-8"))
    tracker = MlflowTracker(experiment, f"summary of {folder.resolve().name}", tracking.uri, state)
    write_json_atomic(path, tracker.state())
    tracker.log_params({
        "task": plan.job.task, "dataset": plan.job.dataset, "budget": str(plan.budget),
        "methods": ", ".join(entrant.name for entrant in plan.entrants),
        "seeds": ", ".join(map(str, plan.seeds)), "against": plan.against,
    })  # fmt: skip
    tracker.set_tags({"bench": str(folder)})
    return tracker


def _record(tracker: Tracker, folder: Path, results: pd.DataFrame, found: Comparison) -> None:
    values = {
        f"{line.method}.{name}": value
        for line in found.lines
        for name, value in {
            f"test.{found.metric}": line.test.mean, f"valid.{found.metric}": line.valid.mean,
            "rank": line.rank, "search_seconds": line.search_seconds,
            "minus": line.minus.mean if line.minus else math.nan,
        }.items()
        if math.isfinite(value)
    }  # fmt: skip
    # A later sitting has more trials, and so a later step.
    tracker.log(values, int((results["status"] == "finished").sum()))
    for name in _FILES:
        tracker.log_artifact(folder / name)
    for path in sorted((folder / "plots").glob("*.png")):
        tracker.log_artifact(path, "plots")
