"""A job that is ended early serves the best of what is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sif.recommender.recommender import Recommender

Command = Callable[..., Any]
SETS = (
    "train.l2=[1]", "train.epochs=2", "train.dimension=4", "search.epochs=2", "search.dimension=4",
    "search.arch_every=1", "methods.nasp.arch_start=0", "checkpoint_seconds=0", "threads=1",
    "data.planted.kind=product", "data.planted.users=40", "data.planted.items=30",
    "baselines=[popularity,ease]",
    "search.stages=[closed,encoding,operation]",
)  # fmt: skip
RESUMED = ("--resume", "run", "--quiet")
pytestmark = pytest.mark.usefixtures("without_figures")


def interrupted(sif: Command, monkeypatch: pytest.MonkeyPatch, at: str, *sets: str) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    job = ["--task", "cf", "--output-dir", "run", "--no-tracking", "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(at, stop)
        assert sif(*job, "--set", *SETS, *sets).code == 130


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("run/metrics.json").read_text())
    return found


def test_what_was_not_begun_is_left_out_and_the_best_so_far_is_served(
    sif: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sif.tasks.cf.entrants.HOPE", 0.0)  # functions are searched
    interrupted(sif, monkeypatch, "sif.problems.interactions.InteractionProblem.search")
    done = sif(*RESUMED, "--finish")
    assert (done.code, done.err) == (0, [])
    found = document()
    assert set(found["left_out"]) == {"searched", "random-function"}, found["left_out"]
    assert found["baselines"].keys() == {"closed", "fixed-multiply", "popularity", "ease"}
    valid = {name: found["baselines"][name]["valid"] for name in ("closed", "fixed-multiply")}
    assert found["valid"] == max(valid.values(), key=lambda one: one["ndcg@10"])
    log = Path("run/log.txt").read_text()
    assert "no second fits, for no model: the job was ended before it" in log
    assert len(Recommender.load("run").recommend("u0001", n=3)) == 3
    # Ended for good: another sitting says the same, and begins nothing.
    assert sif(*RESUMED).code == 0
    assert document()["left_out"] == found["left_out"] and document()["test"] == found["test"]


def test_a_job_without_a_trained_model_cannot_be_ended(
    sif: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = "search.stages=[encoding,operation]"
    interrupted(sif, monkeypatch, "sif.problems.interactions.InteractionProblem.fit", functions)
    done = sif(*RESUMED, "--finish")
    assert done.code == 2
    assert done.err == ["error: run: expected a trained model, found none yet"]


def test_only_an_interrupted_job_is_ended(sif: Command) -> None:
    done = sif("--task", "cf", "--finish")
    assert done.code == 2
    assert done.err == [
        "error: --finish ends an interrupted run: expected --resume DIR, found none"
    ]


def test_a_budget_that_nothing_fits_into_serves_a_closed_form(
    sif: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sif.tasks.study.FIGURES", 1000.0)  # seconds of what cannot be left out
    done = sif("--task", "cf", "--output-dir", "run", "--no-tracking", "--quiet", "--set", *SETS,
               "budget=60")  # fmt: skip
    assert (done.code, done.err) == (0, [])
    assert "searched" in document()["plan"]["left_out"]
    assert "as searched is left out" in Path("run/log.txt").read_text()
    assert len(Recommender.load("run").recommend("u0001", n=3)) == 3
