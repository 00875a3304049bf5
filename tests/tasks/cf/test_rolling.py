"""Jobs under the protocol `rolling`: one job per moment, mean and spread, resume, records."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.tasks.cf.rolling import models_table, over_moments, summarized
from sif.tasks.job import JobRunner
from sif.tracking import COMMON

Command = Callable[..., Any]
JOB = ["--task", "cf", "--dataset", "rows.csv", "--output-dir", "run", "--quiet"]
ROLLING = ["data.protocol=rolling", "data.moments=2"]


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """Users that come one after the other; in the working directory as rows.csv."""
    rng = np.random.default_rng(0)
    rows = [
        (user, item, 100 * user + 40 * place + int(rng.integers(0, 30)))
        for user in range(60)
        for place, item in enumerate(rng.choice(30, size=12, replace=False))
    ]
    made = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    made.to_csv(tmp_path / "rows.csv", index=False)
    return made


def document(run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(run, "metrics.json").read_text())
    return found


@pytest.mark.usefixtures("without_figures", "table")
def test_all_moments_one_after_the_other(
    sif: Command, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = [*JOB, "--no-tracking", *tiny, *ROLLING, "budget=60"]
    begun: list[Path] = []
    runs = JobRunner.run

    def interrupted(runner: JobRunner) -> Any:
        begun.append(runner.context.folder)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return runs(runner)

    monkeypatch.setattr(JobRunner, "run", interrupted)
    stopped = sif(*job)
    assert stopped.code == 130 and stopped.err[-1].endswith("--resume run")
    done = sif("--resume", "run", "--quiet")
    assert (done.code, done.err) == (0, [])
    # What was done stays done; the second moment went on.
    assert [path.name for path in begun] == ["moment-1", "moment-2", "moment-2"]
    whole = document("run")
    moments = [document(f"run/moment-{number}") for number in (1, 2)]
    for name in ("config.yaml", "genotype.json", "model", "log.txt", "checkpoint"):
        assert all(Path(f"run/moment-{number}", name).exists() for number in (1, 2))
    assert [one["protocol"]["split_hash"] for one in moments] == [
        one["protocol"]["split_hash"] for one in whole["moments"]
    ]
    values = [one["baselines"]["ease"]["ndcg@10"] for one in moments]
    ease = whole["baselines"]["ease"]
    assert ease["mean"]["ndcg@10"] == pytest.approx(np.mean(values))
    assert ease["spread"]["ndcg@10"] == pytest.approx(abs(values[0] - values[1]) / math.sqrt(2))
    assert whole["test"]["ndcg@10"] == pytest.approx(
        np.mean([m["test"]["ndcg@10"] for m in moments])
    )
    assert whole["verdict"] in Path("run/log.txt").read_text()
    page = Path("run/report.html").read_text()
    assert "moment 1" in page and "moment 2" in page  # their pages are not made here
    assert whole["verdict"] in page
    # The second moment has what the first has left of the budget.
    first, second = (one["plan"]["budget"] for one in moments)
    assert first == 30 and second == pytest.approx(60 - moments[0]["total_seconds"], abs=0.06)
    assert sif("evaluate", "run/moment-2").code == 0
    refused = sif("evaluate", "run")
    assert refused.code == 2 and len(refused.err) == 1


@pytest.mark.usefixtures("without_figures", "table")
def test_one_moment_is_a_job_of_its_own(sif: Command, tiny: list[str]) -> None:
    assert sif(*JOB, "--no-tracking", *tiny, *ROLLING, "data.moment=2").code == 0
    last = document("run")
    assert last["protocol"]["name"] == "rolling" and "moments" not in last
    cut = [*JOB[:-3], "--output-dir", "cut", "--quiet", "--no-tracking"]
    assert sif(*cut, *tiny, "data.protocol=time-cut").code == 0
    assert document("cut")["test"] == last["test"]


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["data.protocol=rolling", "data.moment=4"], "data.moment 4 contradicts data.moments 3"),
        (["data.moment=1"], "data.moment needs data.protocol 'rolling'"),
        (["data.protocol=rolling", "data.moment=0"], "data.moment: expected a number greater than"),
        (["data.protocol=rolling", 'data.timestamp=""'], "protocol rolling expects a timestamp"),
    ],
)
def test_moments_that_are_none(
    sif: Command, tiny: list[str], settings: list[str], told: str
) -> None:
    done = sif(*JOB, "--no-tracking", *tiny, *settings)
    assert done.code == 2 and len(done.err) == 1 and told in done.err[0]
    assert not Path("run").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures", "table")
def test_mlflow_has_one_run_with_a_run_per_moment(
    sif: Command, tiny: list[str], store: str
) -> None:
    """Slow: a job for each moment, with MLflow."""
    assert sif(*JOB, "--tracking-uri", store, *tiny, *ROLLING).code == 0

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("sif").experiment_id
    runs = {run.info.run_id: run for run in client.search_runs([experiment])}
    parents = {key: run.data.tags.get("mlflow.parentRunId") for key, run in runs.items()}
    (top,) = [key for key, parent in parents.items() if parent is None]
    below = {runs[key].info.run_name: key for key, parent in parents.items() if parent == top}
    name = runs[top].info.run_name
    assert sorted(below) == [f"{name} · moment 1", f"{name} · moment 2"]
    held = {key: parents[key] for key in runs if key != top and key not in below.values()}
    assert set(below.values()) <= set(held.values()) and top not in held.values()
    whole = document("run")
    assert runs[top].data.tags["verdict"] == whole["verdict"]
    assert set(COMMON) <= set(runs[top].data.params)
    assert runs[top].data.tags["mlflow.note.content"].startswith(whole["verdict"])
    assert runs[top].data.metrics["test.ndcg_at_10"] == pytest.approx(whole["test"]["ndcg@10"])
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def moment(ours: float, ease: float | None, difference: float | None) -> dict[str, Any]:
    """A moment's metrics.json, in part."""
    baselines = {} if ease is None else {"ease": {"ndcg@10": ease, "valid": {"ndcg@10": 0.4}}}
    return {
        "test": {"ndcg@10": ours},
        "valid": {"ndcg@10": 0.3},
        "baselines": baselines,
        "comparison": None if difference is None else {"difference": difference},
    }


def test_the_verdict_counts_moments_and_has_their_interval() -> None:
    done = [moment(0.3, 0.2, 0.1), moment(0.4, 0.2, 0.2), moment(0.5, 0.2, 0.3)]
    found = over_moments(done, "ndcg@10")
    # Student's t with two degrees of freedom: 4.303 standard errors of .1 / sqrt(3).
    assert found.comparison is not None
    assert found.comparison.difference == pytest.approx(0.2)
    assert found.comparison.low == pytest.approx(0.2 - 4.303 * 0.1 / math.sqrt(3), abs=1e-4)
    assert found.comparison.outcome == "undecided" and "ahead at 3 of 3 moments" in found.text
    near = [moment(0.3, 0.2, gap) for gap in (0.1, 0.11, 0.12)]
    assert over_moments(near, "ndcg@10").comparison.outcome == "better"  # type: ignore[union-attr]
    assert over_moments(near, "rmse").comparison.outcome == "worse"  # type: ignore[union-attr]
    assert "ahead at 0 of 3" in over_moments(near, "rmse").text
    one = over_moments([moment(0.3, 0.2, 0.1), moment(0.3, None, None)], "ndcg@10")
    assert one.no_interval and "undecided" in one.text and "nan" not in one.text
    assert over_moments([moment(0.3, None, None)] * 2, "ndcg@10").comparison is None


def test_models_that_some_moments_lack() -> None:
    done = [moment(0.3, 0.1, 0.2), moment(0.5, None, None)]
    found = summarized(done, "ndcg@10")
    assert list(found) == ["ease", "searched"]  # by validation
    assert found["searched"]["mean"] == {"ndcg@10": pytest.approx(0.4)}
    assert found["searched"]["spread"] == {"ndcg@10": pytest.approx(0.2 / math.sqrt(2))}
    assert found["ease"]["moments"] == 1 and math.isnan(found["ease"]["spread"]["ndcg@10"])
    told = models_table(found, ["ndcg@10"], 2)
    assert "ease (1 of 2)" in told and "0.4000 ± 0.1414" in told
