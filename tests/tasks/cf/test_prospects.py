"""Entrants without a prospect: a job spares the search of functions where order says it all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

Command = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("without_figures")
ITEMS, USERS, LENGTH = 40, 60, 12


@pytest.fixture
def job(tmp_path: Path, sif: Command) -> Callable[..., tuple[dict[str, Any], str]]:
    """Runs a job on users who walk through all items in the same order, from various first ones."""
    table = pd.DataFrame({
        "user": np.repeat(np.arange(USERS), LENGTH),
        "item": (np.repeat(np.arange(USERS), LENGTH) * 7 + np.tile(np.arange(LENGTH), USERS))
        % ITEMS,
        "timestamp": np.tile(np.arange(LENGTH), USERS) + 1_000_000,
    })  # fmt: skip
    table.to_csv(tmp_path / "walks.csv", index=False)

    def call(*sets: str) -> tuple[dict[str, Any], str]:
        folder = tmp_path / "run"
        words = ["--task", "cf", "--dataset", tmp_path / "walks.csv", "--output-dir", folder]
        quick = ["search.epochs=2", "train.epochs=2", "train.l2=[1.0]", "search.arch_every=1"]
        quick += ["methods.nasp.arch_start=0", "baselines=[markov,als]", "search.dimension=8"]
        sets = ("data.protocol=last-item", "train.dimension=8", *quick, *sets)
        done = sif(*words, "--no-tracking", "--set", *sets)
        assert done.code == 0, done.err
        document = json.loads((folder / "metrics.json").read_text())
        return document, (folder / "log.txt").read_text()

    return call


def test_no_function_is_searched_where_the_next_item_is_known(
    job: Callable[..., tuple[dict[str, Any], str]],
) -> None:
    document, log = job()
    assert (
        "left out: searched: validation puts the simplest function of pairs far behind the model "
        in log
    )
    assert "of order, as searched is left out" in log and "searched diverged" not in log
    assert "\nverdict: the search's answer is a model in order; next item" in log
    assert "search nasp 1/2" not in log and "random-function" not in document["baselines"]
    assert document["search"] is None
    assert document["left_out"].keys() == {"searched", "random-function", "fixed-multiply"}
    assert document["test"]["ndcg@10"] > 0.9 and "fixed-multiply" not in document["baselines"]
    assert "of fixed-multiply" in document["left_out"]["fixed-multiply"]


def test_functions_alone_are_searched_where_order_is_no_stage(
    job: Callable[..., tuple[dict[str, Any], str]],
) -> None:
    document, log = job("search.stages=[encoding,operation,weighting]")
    assert "left out: searched" not in log and document["search"] is not None
    assert document["baselines"].keys() >= {"random-function", "fixed-multiply"}
    assert "order" not in document["baselines"]


@pytest.mark.parametrize("seconds", [0.0, 20.0])
def test_a_control_ends_with_the_seconds_of_the_search(
    job: Callable[..., tuple[dict[str, Any], str]], monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """With none it takes an epoch."""
    monkeypatch.setattr("sif.problems.plan.PACED", seconds)
    monkeypatch.setattr("sif.tasks.job.paced_seconds", lambda _: seconds)
    document, log = job("search.stages=[encoding,operation,weighting]", "train.epochs=6")
    told = "train random-function: cut, a control has the seconds of the search"
    assert (told in log) == (not seconds)
    assert document["plan"]["cut"] == ([] if seconds else ["train random-function"])
    assert "random-function" in document["baselines"]
