"""Whatever happens to figures, intervals and entrants, a job ends with a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

ONE_USER = [f"whale,i{i}" for i in range(30)] + [f"u{i},i{i}" for i in range(10)]
"""Only one of the users has enough items to be tested."""


def document(run: str = "run") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(run) / "metrics.json").read_text())
    return found


@pytest.fixture
def job(sif: Command, tiny: list[str]) -> list[str]:
    return ["--task", "cf", "--no-tracking", "--output-dir", "run", *tiny, "baselines=[popularity]"]


def test_one_test_user_has_a_verdict_without_an_interval(sif: Command, job: list[str]) -> None:
    Path("whale.csv").write_text("\n".join(["user,item", *ONE_USER]) + "\n")
    done = sif("--dataset", "whale.csv", *job, "train.epochs=2")
    assert done.code == 0, done.err
    assert "undecided: one user: " in done.out and "(no interval: one user)" in done.out
    found = document()
    assert found["comparison"]["low"] is None and found["comparison"]["difference"] is not None
    assert set(found["not_finite"].values()) == {"no interval: one user"}
    assert sif("evaluate", "run").code == 0
    assert {"test.png", "figures.json"} <= {path.name for path in Path("run/plots").iterdir()}
    assert sif("--resume", "run").code == 0
    again = document()
    assert again | {"total_seconds": 0} == found | {"total_seconds": 0}


@pytest.mark.usefixtures("without_figures")
def test_a_search_that_diverges_leaves_its_place_to_fixed_multiply(
    sif: Command, job: list[str]
) -> None:
    done = sif(*job, "search.lr=1e30")
    assert done.code == 0
    told = [line for line in done.err if line.startswith(("left out", "kept"))]
    assert told[0].startswith("left out: searched: search diverged in epoch ")
    assert told[0].endswith("lower search.lr=1e+30")
    assert told[1] == "kept: multiply(user, item) of fixed-multiply, as searched diverged"
    found = document()
    assert list(found["left_out"]) == ["searched"] and found["search"] is None
    assert found["genotype"] == "multiply(user, item)"
    assert sif("evaluate", "run").code == 0


@pytest.mark.usefixtures("without_figures")
def test_where_all_diverge_all_are_named_and_one_line_says_why(
    sif: Command, job: list[str]
) -> None:
    for number, strengths in enumerate(("[2]", "[1e30,2]")):
        run = ["run" + str(number) if word == "run" else word for word in job]
        done = sif(*run, "train.lr=1e30", f"train.l2={strengths}")
        assert done.code == 2
        left_out = [line.split(": ")[1] for line in done.err if line.startswith("left out: ")]
        assert set(left_out) == {"searched", "fixed-multiply", "random-function"}
        assert done.err[-1].startswith("error: training diverged in epoch ")
        assert "train.lr=1e+30" in done.err[-1]


@pytest.mark.usefixtures("without_figures")
def test_a_strength_that_diverges_is_left_out_alone(sif: Command, job: list[str]) -> None:
    done = sif(*job, "train.l2=[1e38,2]")
    assert done.code == 0 and "left_out" not in document()
    assert any(line.startswith("left out: fixed-multiply with L2 1e+38: ") for line in done.err)


def test_figures_that_cannot_be_drawn_cost_no_model(
    sif: Command, job: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of a library")

    monkeypatch.setattr("sif.plots.transform_curves", broken)
    done = sif(*job)
    assert done.code == 0 and "verdict: " in done.out
    (line,) = [line for line in done.err if line.startswith("left out: ")]
    assert line.startswith("left out: figures: ") and "ZeroDivisionError" in line
    assert sif("evaluate", "run").code == 0
    assert sif("plot", "run").code == 2
    monkeypatch.undo()
