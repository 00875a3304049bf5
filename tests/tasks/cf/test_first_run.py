"""Whole jobs on every kind of planted truth: what each finds, and what it says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
# Small data, two known rivals, and functions that nothing depends on trained for an epoch or two.
SMALL = (
    "data.planted.users=600", "data.planted.items=100", "data.planted.length=30", "budget=null",
    "baselines=[als,ease]", "train.epochs=4", "train.dimension=8", "search.epochs=2",
    "search.dimension=4", "search.arch_every=1", "methods.nasp.arch_start=0", "threads=1",
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("without_figures")


def job(sif: Command, *sets: str) -> tuple[dict[str, Any], str]:
    """metrics.json and the last words of a job."""
    done = sif("--task", "cf", "--no-tracking", "--quiet", "--output-dir", "run", "--set", *sets)
    assert done.code == 0, done.err
    metrics = json.loads(Path("run/metrics.json").read_text())
    return metrics, done.out[done.out.index("\nFound: ") :]


@pytest.mark.parametrize(("kind", "scales"), [("two-scales", 2), ("one-scale", 1)])
def test_histories_in_order_are_recovered_and_beat_what_knows_no_order(
    kind: str, scales: int, sif: Command
) -> None:
    found, said = job(sif, *SMALL, f"data.planted.kind={kind}")
    recovery = found["recovery"]
    assert recovery["recovered"], recovery
    assert len(recovery["found"]) == len(recovery["planted"]) == scales
    assert found["comparison"]["outcome"] == "better"
    assert found["test"]["ndcg@10"] > 1.5 * found["baselines"]["ease"]["ndcg@10"]
    assert found["test"]["ndcg@10"] < 1.1 * recovery["best"]
    assert "Planted truth recovered: yes." in said
    assert "better than tuned ALS by" in said and "better than tuned EASE by" in said
    titles = [line for line in said.splitlines() if line.startswith(("  1. The ", "  2. The "))]
    assert len(titles) == 2 and "because of The " in titles[0] and "ago)" in titles[0]


@pytest.mark.parametrize("kind", ["set", "shuffled"])
def test_an_order_that_says_nothing_is_not_found(kind: str, sif: Command) -> None:
    found, said = job(sif, *SMALL, f"data.planted.kind={kind}")
    recovery = found["recovery"]
    assert (recovery["found"], recovery["planted"]) == ([], [])
    assert found["comparison"]["outcome"] == "undecided", found["verdict"]
    assert "does not look at the order of rows" in said or "a user is" in said.lower()
    assert ("Planted truth recovered: yes." in said) == recovery["recovered"]
    if kind == "set":
        assert recovery["recovered"], recovery


def test_a_plain_product_is_no_reason_to_be_ahead(sif: Command) -> None:
    small = [one for one in SMALL if "length" not in one and "planted.users" not in one]
    product = (
        "data.planted.kind=product", "data.planted.users=150", "data.planted.density=0.2",
        "controls=[fixed-multiply]", "train.l2=[2]", "search.stages=[encoding,operation]",
    )  # fmt: skip
    found, said = job(sif, *small, *product)
    assert found["comparison"]["outcome"] != "better", found["verdict"]
    assert found["recovery"]["planted"] == "multiply"
    assert "a user's and an item's vector meet by multiply(user, item)" in said
    assert "level with tuned ALS" in said or "worse than tuned ALS" in said
