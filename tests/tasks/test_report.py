"""Jobs write a page, and what they save for it is what the job found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sif
from sif.evaluation.comparison import holm
from sif.evaluation.evaluate import Evaluation
from sif.tasks import evaluations_of
from sif.tasks.report_data import POOLED, few_units, histogram, interval, rounded, spaced

NASTY = '<img src=x onerror="alert(1)">'
TINY: dict[str, Any] = {
    "search": {"epochs": 6, "dimension": 4, "arch_every": 1, "stages": ["encoding", "operation"]},
    "train": {"epochs": 6, "dimension": 4, "l2": [2.0]}, "refit": "none",
    "baselines": ["popularity", "ease"], "threads": 1, "tracking": {"enabled": False},
    "budget": None,
}  # fmt: skip
Board = Callable[..., pd.DataFrame]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, checkerboard: Board) -> Path:
    folder = tmp_path_factory.mktemp("report")
    rows = checkerboard(24, 16)
    rows["item"] = [f"{item} {NASTY}" for item in rows["item"]]
    rows["timestamp"] = np.arange(len(rows)) * 86_400 + 1_500_000_000
    rows.to_csv(folder / "orders.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sif.tasks.ending.save_and_draw", lambda *_: [])
        config = sif.CFConfig(**TINY, dataset=str(folder / "orders.csv"), output_dir=folder / "run")
        return sif.run_job(config).folder


@pytest.fixture(scope="module")
def record(finished: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((finished / "report.json").read_text())
    return found


def test_ours_is_compared_with_every_other_model(finished: Path, record: dict[str, Any]) -> None:
    models = {one["name"]: one for one in record["models"]}
    compared = {name: one["compared"] for name, one in models.items() if one["compared"]}
    assert {"popularity", "ease"} <= set(compared)
    assert "searched" not in compared
    expected = holm([one["p"] for one in compared.values()])
    assert [one["corrected_p"] for one in compared.values()] == expected
    tests = evaluations_of(finished)
    for name, one in compared.items():
        gap = tests["searched"].metrics["ndcg@10"] - tests[name].metrics["ndcg@10"]
        assert one["difference"] == pytest.approx(gap)
        assert one["low"] <= one["difference"] <= one["high"]
        assert one["outcome"] == "undecided" or one["corrected_p"] < 0.05


def test_all_settings_that_validation_chose_from_are_kept(record: dict[str, Any]) -> None:
    models = {one["name"]: one for one in record["models"]}
    ease = models["ease"]
    assert len(ease["tried"]) > 2
    assert max(one["value"] for one in ease["tried"]) == pytest.approx(
        ease["valid"]["ndcg@10"], rel=1e-5
    )
    seconds = [one["seconds"] for one in ease["tried"]]
    assert seconds == sorted(seconds) and seconds[-1] <= ease["seconds"]
    assert ease["tried"][0]["name"].startswith("l2 ")
    assert [one["name"] for one in models["searched"]["tried"]] == ["l2 2"]


def test_the_data_add_up(finished: Path, record: dict[str, Any]) -> None:
    data = record["data"]
    rows = pd.read_csv(finished.parent / "orders.csv")
    assert data["rows"] == len(rows) == sum(data["parts"].values())
    assert sum(data["counts"]["user"]["counts"]) == rows["user"].nunique()
    assert sum(map(sum, data["timeline"]["counts"].values())) == len(rows)


def test_lists_leave_out_what_users_have(finished: Path, record: dict[str, Any]) -> None:
    rows = pd.read_csv(finished.parent / "orders.csv")
    had = rows.groupby("user")["item"].agg(set)
    tested = {u["user"]: {i["id"] for i in u["lists"]["searched"] if i["hit"]}
              for u in record["recommendations"]}  # fmt: skip
    assert len(record["recommendations"]) > 2
    for one in record["recommendations"]:
        known = {item["id"] for item in one["history"]}
        for items in one["lists"].values():
            listed = [item["id"] for item in items]
            assert len(set(listed)) == len(listed)
            assert not set(listed) & known
            # Of what the user has, only rows of the test part can be recommended: these are hits.
            assert {i["id"] for i in items if i["hit"]} == set(listed) & had[one["user"]]
    assert any(tested.values())


def test_found_shares_are_those_of_the_test(finished: Path, record: dict[str, Any]) -> None:
    items = record["items"]
    weights = np.array([group["rows"] for group in items["groups"]])
    assert "searched" in items["recall"]
    for name, shares in items["recall"].items():
        found = evaluations_of(finished)[name]
        hits = (found.per_user["precision@10"] * 10).sum()
        assert (np.array(shares) * weights).sum() == pytest.approx(hits)


def test_the_page_escapes_titles(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;" in page
    assert NASTY not in page
    told = page.split('id="missing"')[1].split("</section>")[0]
    assert told.count("<li>") == 1 and "plots/figures.json: not there" in told  # it was not drawn


def test_a_page_that_fails_costs_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("no\nuse")

    monkeypatch.setattr("sif.tasks.ending.save_and_draw", lambda *_: [])
    monkeypatch.setattr("sif.tasks.ending.report_document", broken)
    data = {"planted": {"users": 40, "items": 30, "density": 0.3}}
    result = sif.run_job(sif.CFConfig(**TINY, data=data, output_dir=tmp_path / "run"))
    assert "left out: report.html: no" in (result.folder / "log.txt").read_text()
    assert (result.folder / "metrics.json").exists()
    assert not (result.folder / "report.html").exists()


def test_many_users_are_pooled_without_a_change_of_the_mean() -> None:
    draws = np.random.default_rng(0)
    values = draws.random(5_001)
    found = Evaluation({"ndcg@10": values.mean()}, np.arange(5_001), {"ndcg@10": values}, 0)
    pooled = few_units(found, "ndcg@10")
    assert len(pooled.users) == POOLED
    assert pooled.per_user["ndcg@10"].mean() == pytest.approx(values.mean())
    low, high = interval(pooled, "ndcg@10", 2_000, 0) or (0.0, 0.0)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)


def test_one_user_has_no_interval() -> None:
    found = Evaluation({"ndcg@10": 0.5}, np.arange(1), {"ndcg@10": np.array([0.5])}, 0)
    assert interval(found, "ndcg@10", 500, 0) is None


def test_a_histogram_counts_every_user_once() -> None:
    found = histogram(np.array([0, 1, 2, 3, 3, 8, 100]))
    assert dict(zip(found["labels"], found["counts"], strict=True)) == {
        "0": 1, "1": 1, "2\N{EN DASH}3": 3, "4\N{EN DASH}7": 0, "8\N{EN DASH}15": 1,
        "16\N{EN DASH}31": 0, "32\N{EN DASH}63": 0, "64\N{EN DASH}127": 1,
    }  # fmt: skip
    assert (found["most"], found["median"]) == (100, 3.0)


def test_long_histories_keep_their_ends() -> None:
    assert spaced(list(range(1_000)), 5) == [0, 250, 500, 749, 999]
    assert spaced([1, 2], 5) == [1, 2]
    assert rounded({"a": [1 / 3, 2, "x", None]}) == {"a": [0.333333, 2, "x", None]}
