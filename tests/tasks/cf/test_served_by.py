"""The model that a job saves where several objectives choose it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.recommender.model import ServedModel
from tests.tasks.cf.test_served import BEST, SETS, Command, Job, job, log, metrics, walks

__all__ = ["job"]
pytestmark = pytest.mark.usefixtures("without_figures")


def valid_of(found: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Validation of everybody who may be served, ours among them."""
    return {"searched": found["valid"]} | {n: e["valid"] for n, e in found["baselines"].items()}


@pytest.mark.slow
def test_bounds_rule_out_what_validation_ranks_best(job: Job) -> None:
    """Two whole jobs: one tells where the bound has to lie for the other."""
    plain = job("plain")
    valid = valid_of(plain)
    assert plain["served"]["name"] == "markov"
    least = sorted(one["arp@10"] for one in valid.values())[0]
    bound = (valid["markov"]["arp@10"] + least) / 2
    goal = f'serve_by="ndcg@10, arp@10 <= {bound}"'
    found = job("run", goal, *BEST)
    kept = {n: v["ndcg@10"] for n, v in valid_of(found).items() if v["arp@10"] <= bound}
    assert kept and "markov" not in kept
    served = found["served"]
    assert served["name"] in kept and served["leader"] == max(kept, key=lambda n: kept[n])
    told = f"of 4 model{'s have' if len(kept) > 1 else ' has'} arp@10 <= "
    assert served["rule"].startswith(f"{len(kept)} {told}")
    assert f"\nserved: {served['expression']}: {served['rule']}\n" in log("run")
    assert ServedModel.load(Path("run")).expression == served["expression"]
    # The test, the verdict and all other figures are as they were.
    assert found["test"] == plain["test"] and found["comparison"] == plain["comparison"]


def test_where_no_model_keeps_the_bounds_the_closest_is_served(job: Job) -> None:
    found = job("run", 'serve_by="recall@20, coverage@10 >= 2, novelty@20 >= 90"', *BEST)
    short = {
        name: (2 - one["coverage@10"]) / 2 + (90 - one["novelty@20"]) / 90
        for name, one in valid_of(found).items()
    }
    assert found["served"]["name"] == min(short, key=lambda name: short[name])
    told = "no model has coverage@10 >= 2 and novelty@20 >= 90, and the closest is served: "
    assert found["served"]["rule"].startswith(told)
    assert log("run").count(told) == 1


def test_without_baselines_ours_is_told_to_keep_the_bounds_or_not(job: Job) -> None:
    found = job("run", 'serve_by="ndcg@10, coverage@10 <= 1"', "baselines=[]")
    assert found["served"]["rule"].startswith("1 of 1 model has coverage@10 <= 1: the searched")
    assert "\nserved: " in log("run")


@pytest.mark.parametrize(("sets", "message"), [
    (['serve_by="ndcg@10, coverage@10 > 1"'], "found 'coverage@10 > 1'"),
    (["serve_by=ndcg@7"], "expected a length of metrics_at (10, 20), found ndcg@7"),
    (["serve_by=ndcg@10", "serve=searched"], "serve_by contradicts serve 'searched'"),
    (["serve_by=ndcg@10", "train.valid_users=5"], "serve_by contradicts train.valid_users"),
    (["serve_by=ndcg@10", "objective=rating"], "serve_by contradicts objective 'rating'"),
])  # fmt: skip
def test_bad_goals_are_one_line_and_nothing_is_written(
    sets: list[str], message: str, sif: Command
) -> None:
    done = sif("--task", "cf", "--output-dir", "run", "--set", *SETS, *sets)
    assert done.code == 2 and not Path("run").exists()
    (line,) = done.err
    assert message in line


def test_a_resumed_job_serves_the_same(job: Job, sif: Command) -> None:
    found = job("run", 'serve_by="ndcg@10, coverage@10 >= 0.5"', *BEST)
    assert sif("--resume", "run").code == 0
    assert metrics("run")["served"] == found["served"]


def features(column: str) -> str:
    """A file of features of the walks' items: a label, or a number; its setting."""
    values = ["even" if n % 2 else "odd" for n in range(20)]
    frame = pd.DataFrame({"item": [f"i{n:02}" for n in range(20)], "kind": values})
    frame = frame if column == "kind" else frame.assign(kind=np.arange(20.0) + 0.5)
    frame.rename(columns={"kind": column}).to_csv("kinds.csv", index=False)
    return "data.item_features=kinds.csv"


def test_bounds_may_be_on_diversity_and_calibration(job: Job) -> None:
    goal = 'serve_by="calibration@10, diversity@10 >= 0.1"'
    found = job("run", goal, features("kind"), "baselines=[popularity,ease]")
    valid = valid_of(found)
    assert all({"diversity@10", "calibration@10"} <= set(one) for one in valid.values())
    kept = {n: one["calibration@10"] for n, one in valid.items() if one["diversity@10"] >= 0.1}
    assert found["served"]["leader"] == min(kept, key=lambda name: kept[name])
    assert found["served"]["rule"].startswith(f"{len(kept)} of 3 models have diversity@10 >= 0.1")


def test_goals_that_need_features_are_refused_without(sif: Command, tmp_path: Path) -> None:
    walks().to_csv("walks.csv", index=False)
    words = ["--task", "cf", "--dataset", "walks.csv", "--output-dir", "run", "--set", *SETS]
    for goal, further, message in (
        ("ndcg@10, diversity@10 >= .1", [], "diversity: expected features of items"),
        ("calibration@10", [features("age")], "calibration: expected a column of tags or category"),
    ):
        done = sif(*words, f'serve_by="{goal}"', *further)
        assert done.code == 2 and not Path("run").exists()
        (line,) = done.err
        assert f"serve_by: {message}" in line
