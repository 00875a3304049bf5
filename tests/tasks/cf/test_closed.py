"""Closed forms as an entrant of a job: fitted first, served, fitted again, resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.problems.halving import Halving
from sif.recommender.recommender import Recommender
from sif.spaces.closed.design import FAMILIES
from sif.utils import checkpoint

Command = Callable[..., Any]
SETS = (
    "train.l2=[1]", "train.evaluate_every=1", "train.epochs=1", "train.dimension=4", "threads=1",
    "search.epochs=2", "search.dimension=4", "search.arch_every=1", "methods.nasp.arch_start=0",
    "controls=[fixed-multiply]", "baselines=[popularity]", "checkpoint_seconds=0",
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("without_figures")


def circles() -> pd.DataFrame:
    """60 users with six of the ten items of one of three circles."""
    draws = np.random.default_rng(0)
    rows = [
        (f"u{user:02}", f"i{10 * (user % 3) + (start + 3 * step) % 10:02}")
        for user, start in enumerate(draws.integers(0, 10, 60))
        for step in range(7)
    ]
    return pd.DataFrame(rows, columns=["user", "item"])


@pytest.fixture
def job(sif: Command, tmp_path: Path) -> Callable[..., tuple[dict[str, Any], str]]:
    """Runs a job on the circles into a folder; its metrics and its log."""
    circles().to_csv(tmp_path / "circles.csv", index=False)

    def call(run: str, *sets: str) -> tuple[dict[str, Any], str]:
        words = ["--task", "cf", "--dataset", "circles.csv", "--output-dir", run, "--no-tracking"]
        done = sif(*words, "--set", *SETS, *sets)
        assert done.code == 0, done.err
        return read(run)

    return call


def read(run: str) -> tuple[dict[str, Any], str]:
    folder = Path(run)
    return json.loads((folder / "metrics.json").read_text()), (folder / "log.txt").read_text()


def found(run: str) -> dict[str, Any]:
    state: dict[str, Any] = checkpoint.load(
        Path(run) / "checkpoint" / "train-closed.safetensors", "stage"
    )["state"]
    return state


def test_it_is_fitted_first_served_and_fitted_again(
    job: Callable[..., tuple[dict[str, Any], str]], sif: Command
) -> None:
    document, log = job("run")
    assert log.index("\nclosed: ") < log.index("\nfixed-multiply: ")
    assert "closed: fitted again on" in log
    entry = document["baselines"]["closed"]
    assert entry["params"]["family"] in ("item-item", "filter", "spectrum", "chebyshev")
    planned = {row["stage"] for row in document["plan"]["stages"]}
    assert {"train closed", "refit closed"} <= planned and "search closed" not in planned
    assert log.index("\nclosed: ") < log.index("\nplan: ")  # it takes seconds
    planned_row = next(row for row in document["plan"]["stages"] if row["stage"] == "train closed")
    assert (planned_row["settings"], planned_row["seconds"]) == ("done", 0.0)
    served = document["served"]
    assert served["expression"] == document["genotype"]
    assert document["entrant"] == served["name"] == served["leader"] == "closed"
    assert "closed +" in log and "searched +" not in log
    assert "closed: this model takes the place of searched, so both rows are the same model" in log
    assert document["served"]["valid"] == entry["valid"] and document["test"]["hit@10"] > 0.9
    again = json.loads(sif("evaluate", "run").out)
    assert {name: again[name] for name in document["test"]} == pytest.approx(document["test"])
    model = Recommender.load("run")
    assert model.fitted_model().expression == document["genotype"]
    best = model.recommend("u00", n=1).item[0]
    assert best[1] == "0" and model.explain("u00", best).item.str[1].eq("0").all()


def test_it_is_left_out_with_its_reason_where_memory_is_too_small(
    job: Callable[..., tuple[dict[str, Any], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 GB")

    for family in FAMILIES.values():
        monkeypatch.setattr(family, "weights", full)
    document, log = job("run")
    told = "closed forms: none fits into memory; search.stages without closed leaves them out"
    assert document["left_out"] == {"closed": told} and f"left out: closed: {told}" in log
    assert "closed" not in document["baselines"] and document["served"]["name"] != "closed"


def test_it_waits_for_the_plan_where_it_takes_long(
    job: Callable[..., tuple[dict[str, Any], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sif.tasks.cf.study.SOON", 0.0)
    document, log = job("run")
    assert log.index("\nplan: ") < log.index("\nclosed: ")
    row = next(row for row in document["plan"]["stages"] if row["stage"] == "train closed")
    assert row["settings"] == "penalties" and row["seconds"] > 0


def test_it_is_left_out_where_it_is_no_stage(
    job: Callable[..., tuple[dict[str, Any], str]],
) -> None:
    document, log = job("run", "search.stages=[encoding,operation,weighting]")
    assert "closed" not in document["baselines"] and "closed" not in log


def test_a_resumed_job_has_the_same_closed_form(
    job: Callable[..., tuple[dict[str, Any], str]], sif: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = job("whole")
    state, original = found("whole"), Halving._merit
    with monkeypatch.context() as stopped:
        count = 0

        def merit(search: Any, design: Any, level: int) -> float:
            nonlocal count
            count += 1
            if count > 30:
                raise KeyboardInterrupt
            return float(original(search, design, level))

        stopped.setattr("sif.problems.halving.Halving._merit", merit)
        words = ["--task", "cf", "--dataset", "circles.csv", "--output-dir", "cut"]
        assert sif(*words, "--no-tracking", "--set", *SETS).code != 0
    partial = Path("cut/checkpoint/train-closed.partial.safetensors")
    told = checkpoint.load(partial, "stage")["state"]["told"]
    assert len(told) > 20
    assert sif("--resume", "cut").code == 0
    resumed, _ = read("cut")
    assert found("cut")["genotype"] == state["genotype"]
    assert resumed["test"] == whole["test"] and resumed["genotype"] == whole["genotype"]
