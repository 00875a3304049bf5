"""Jobs whose protocol keeps items or users out of train, with features and without."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.recommender.alike import TooManyItems
from sif.recommender.recommender import Recommender

Command = Callable[..., Any]
SETS = (
    "train.l2=[1]", "train.epochs=2", "train.dimension=4", "threads=1", "search.epochs=2",
    "search.dimension=4", "controls=[fixed-multiply]", "baselines=[popularity]",
    "search.stages=[closed,operation]",
)  # fmt: skip
KINDS = 5
pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture
def job(sif: Command, tmp_path: Path) -> Callable[..., Any]:
    """Runs a job on orders within kinds; what it printed."""
    draws = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{item}")
        for user in range(150)
        for item in draws.permutation(80)[:40]
        if item % KINDS == user % KINDS or draws.random() < 0.1
    ]
    pd.DataFrame(rows, columns=["user", "item"]).to_csv(tmp_path / "orders.csv", index=False)
    kinds = pd.DataFrame({"item": [f"i{n}" for n in range(80)]})
    kinds["kind"] = [f"k{n % KINDS}" for n in range(80)]
    kinds.to_csv(tmp_path / "kinds.csv", index=False)
    people = pd.DataFrame({"user": [f"u{n}" for n in range(150)]})
    people["club"] = [f"c{n % KINDS}" for n in range(150)]
    people.to_csv(tmp_path / "people.csv", index=False)
    useless = people.assign(club=draws.permutation(people["club"].to_numpy()))
    useless.to_csv(tmp_path / "useless.csv", index=False)

    def call(run: str, *sets: str, protocol: str = "cold-items") -> Any:
        words = ["--task", "cf", "--dataset", "orders.csv", "--output-dir", run, "--no-tracking"]
        done = sif(*words, "--set", *SETS, f"data.protocol={protocol}", *sets)
        assert done.code == 0, done.err
        return done.out

    return call


def metrics(run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(run) / "metrics.json").read_text())
    return found


def test_a_catalog_too_large_for_new_items_costs_no_job(
    job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*unused: object) -> None:
        raise TooManyItems("new items: expected a catalog of at most 20,000 items")

    monkeypatch.setattr("sif.tasks.cf.study.tested_new_ids", refuses)
    printed = job("run", "data.item_features=kinds.csv")
    assert "note: no figures of new items: new items: expected a catalog of at most" in printed
    assert "new_items" not in metrics("run")
    assert len(Recommender.load("run").recommend("u1", n=3)) == 3


def test_new_items_are_answered_by_their_features(job: Callable[..., Any], sif: Command) -> None:
    printed = job("run", "data.item_features=kinds.csv")
    log = (Path("run") / "log.txt").read_text()
    assert "note: new items, drawn: 16 in test and 8 in valid alone" in log
    assert "note: features of items: kind (category, 5); 80 of 80 items have some" in log
    found = metrics("run")["new_items"]
    names = ["served", "category-popularity", "feature-knn", "feature-als", "popularity"]
    assert list(found["models"]) == names
    assert found["items"] == 16
    recall = {name: one["test"]["recall@10"] for name, one in found["models"].items()}
    assert recall["served"] > recall["category-popularity"] + 0.1
    comparison = found["models"]["category-popularity"]["comparison"]
    assert comparison["low"] >= 0  # of 16 items 20 are in the list
    served, chosen, without = found["beside_known"]
    assert without["ndcg@10"]["new"] == 0 < served["ndcg@10"]["new"]
    assert chosen["level"] == found["alikeness"]["level"] and without["level"] is None
    assert chosen["ndcg@10"]["all"] > without["ndcg@10"]["all"] > 0
    assert served["ndcg@10"]["known"] > 0.5 * without["ndcg@10"]["known"]
    assert "as many new items as known" in printed
    shown = next(line for line in printed.splitlines() if line.startswith("served  "))
    assert f"{found['models']['served']['test']['recall@20']:.4f}" in shown.split()
    assert sif("report", "run").code == 0
    page = (Path("run") / "report.html").read_text()
    assert "16 items that no training saw, ranked among themselves for" in page
    assert f"{served['ndcg@10']['new']:.4f}" in page and "beside known ones at a level" in page
    model = Recommender.load(Path("run"))
    model.add_items(pd.DataFrame({"item": ["n1", "n2"], "kind": ["k1", "k2"]}))
    assert model.recommend("u1", n=1, items=["n1", "n2"])["item"].tolist() == ["n1"]
    saved = vars(model.fitted_model().alikeness)
    assert saved == {**found["alikeness"], "level": saved["level"]}
    assert 0.5 < saved["level"] / served["level"] < 2  # of a fit on more rows


def test_a_resumed_job_says_the_same_of_new_items(job: Callable[..., Any], sif: Command) -> None:
    job("run", "data.item_features=kinds.csv")
    before = metrics("run")["new_items"]
    (Path("run") / "metrics.json").unlink()
    for stage in (Path("run") / "checkpoint").glob("test-*"):
        stage.unlink()
    done = sif("--task", "cf", "--resume", "run", "--no-tracking")
    assert done.code == 0, done.err
    assert metrics("run")["new_items"] == before


def test_without_features_no_new_item_is_recommended(job: Callable[..., Any]) -> None:
    printed = job("run")
    assert "new_items" not in metrics("run")
    assert "ranked among themselves" not in printed
    assert metrics("run")["cold"]["cold_item"] > 0.5


def test_new_users_are_answered_by_their_features(job: Callable[..., Any], sif: Command) -> None:
    both = ("data.user_features=people.csv", "data.item_features=kinds.csv")
    printed = job("run", *both, protocol="cold-users")
    found = metrics("run")["new_users"]
    names = ["served", "category-popularity", "feature-knn", "feature-als", "popularity"]
    assert list(found["models"]) == names
    assert found["users"] == 30 and found["order"] == "popularity"
    ndcg = {name: one["test"]["ndcg@10"] for name, one in found["models"].items()}
    assert ndcg["served"] > ndcg["popularity"] + 0.1
    assert found["models"]["popularity"]["comparison"]["low"] > 0
    shown = [line for line in printed.splitlines() if line.startswith("served  ")]
    assert f"{ndcg['served']:.4f}" in shown[-1].split()
    assert "30 users that no training saw, who get known items" in printed
    assert sif("report", "run").code == 0
    page = (Path("run") / "report.html").read_text()
    assert "30 users whom no training saw, who get known items. Features answer for them." in page
    model = Recommender.load(Path("run"))
    assert vars(model.fitted_model().user_alikeness) == found["alikeness"]
    first = model.recommend_new(features={"club": "c2"}, n=8)["item"]
    assert np.mean([int(item[1:]) % KINDS == 2 for item in first]) >= 0.75
    model.add_items(pd.DataFrame({"item": ["n1", "n2"], "kind": ["k1", "k2"]}))
    both_new = model.recommend_new(features={"club": "c2"}, n=1, items=["n1", "n2"])
    assert both_new["item"].tolist() == ["n2"]


def test_useless_features_leave_new_users_the_popular_order(job: Callable[..., Any]) -> None:
    job("run", "data.user_features=useless.csv", protocol="cold-users")
    found = metrics("run")["new_users"]
    assert found["alikeness"] is None
    ndcg = {name: one["test"]["ndcg@10"] for name, one in found["models"].items()}
    assert ndcg["served"] == ndcg["popularity"]
    assert Recommender.load(Path("run")).fitted_model().user_alikeness is None
