"""A bench or a panel in MLflow: one summary run, in which those of its trials are nested."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sif.bench.plan import Plan
from sif.bench.report import Comparison
from sif.config import TrackingConfig
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
        folder: Of the bench or panel.
        run_id: In which trials are nested; None without a store.
    """

    tracker: Tracker
    folder: Path
    run_id: str | None

    def record(self, values: Mapping[str, float], finished: int, files: Sequence[str]) -> None:
        """Takes numbers and files.

        Args:
            values: Name to number; what is not finite is left out.
            finished: Trials so far: a later sitting has more of them, and so a later step.
            files: In the folder; its figures come along.
        """
        known = {name: value for name, value in values.items() if math.isfinite(value)}
        self.tracker.log(known, finished)
        for name in files:
            self.tracker.log_artifact(self.folder / name)
        for path in sorted((self.folder / "plots").glob("*.png")):
            self.tracker.log_artifact(path, "plots")
        with contextlib.suppress(OSError):  # a report that is not there describes nothing
            lines = (self.folder / "report.md").read_text("utf-8").splitlines()
            self.tracker.describe("\n".join(line for line in lines if not line.startswith("![")))


def experiment_of(folder: Path, tracking: TrackingConfig) -> str:
    """The MLflow experiment: the one that was asked for, or one named after the folder."""
    default = TrackingConfig.model_fields["experiment"].default
    return folder.resolve().name if tracking.experiment == default else tracking.experiment


@contextlib.contextmanager
def summary(
    folder: Path, tracking: TrackingConfig, params: Mapping[str, str], kind: str
) -> Iterator[Summary]:
    """Opens the summary run, or that of an earlier sitting.

    It comes before the trials, so that the experiment is there when they start side by side.

    Args:
        folder: Of the bench or panel; keeps which run it is.
        tracking: Whether there is any, and where.
        params: What the run is of.
        kind: Name of the tag that holds the folder.
    """
    if not tracking.enabled:
        yield Summary(NullTracker(), folder, None)
        return
    path, state = folder / _STATE, None
    with contextlib.suppress(DataError):  # without it there is one summary run more
        state = read_json(path)
    name, experiment = f"summary of {folder.resolve().name}", experiment_of(folder, tracking)
    tracker = MlflowTracker(experiment, name, tracking.uri, state)
    with closed_with_status(tracker):
        write_json_atomic(path, tracker.state())
        tracker.log_params(dict(params))
        tracker.set_tags({kind: str(folder)})
        yield Summary(tracker, folder, tracker.run_id)


def summary_of_bench(folder: Path, plan: Plan) -> AbstractContextManager[Summary]:
    """The summary run of a bench."""
    params = {
        "task": plan.job.task, "dataset": plan.job.dataset, "budget": str(plan.budget),
        "methods": ", ".join(entrant.name for entrant in plan.entrants),
        "seeds": ", ".join(map(str, plan.seeds)), "against": plan.against,
    }  # fmt: skip
    return summary(folder, plan.job.tracking, params, "bench")


def record_bench(summary: Summary, results: pd.DataFrame, found: Comparison) -> None:
    """Records the comparison, and the files of the bench."""
    values = {
        f"{line.method}.{name}": value
        for line in found.lines
        for name, value in {
            f"test.{found.metric}": line.test.mean, f"valid.{found.metric}": line.valid.mean,
            "rank": line.rank, "search_seconds": line.search_seconds,
            "minus": line.minus.mean if line.minus else math.nan,
        }.items()
    }  # fmt: skip
    summary.record(values, int((results["status"] == "finished").sum()), _FILES)
