"""The bench in MLflow: one summary run, in which those of its trials are nested."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sif.bench.plan import Plan
from sif.bench.report import Comparison
from sif.errors import DataError
from sif.tracking import MlflowTracker, NullTracker, Tracker
from sif.tracking.base import closed_with_status
from sif.utils.checkpoint import read_json, write_json_atomic

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
        self.tracker.log(values, int((results["status"] == "finished").sum()))
        for name in _FILES:
            self.tracker.log_artifact(self.folder / name)
        for path in sorted((self.folder / "plots").glob("*.png")):
            self.tracker.log_artifact(path, "plots")


@contextlib.contextmanager
def summary(folder: Path, plan: Plan, experiment: str) -> Iterator[Summary]:
    """Opens the summary run, or that of an earlier sitting.

    It comes before the trials, so that the experiment is there when they start side by side.

    Args:
        folder: Of the bench; keeps which run it is.
        plan: Gives the parameters, and whether there is tracking.
        experiment: In which everything is.
    """
    if not plan.job.tracking.enabled:
        yield Summary(NullTracker(), folder, None)
        return
    path, state = folder / _STATE, None
    with contextlib.suppress(DataError):  # without it there is one summary run more
        state = read_json(path)
    name, store = f"summary of {folder.resolve().name}", plan.job.tracking.uri
    tracker = MlflowTracker(experiment, name, store, state)
    with closed_with_status(tracker):
        write_json_atomic(path, tracker.state())
        tracker.log_params({
            "task": plan.job.task, "dataset": plan.job.dataset, "budget": str(plan.budget),
            "methods": ", ".join(entrant.name for entrant in plan.entrants),
            "seeds": ", ".join(map(str, plan.seeds)), "against": plan.against,
        })  # fmt: skip
        tracker.set_tags({"bench": str(folder)})
        yield Summary(tracker, folder, tracker.run_id)
