"""Whole jobs on splits by time, whose last users and items are new."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sif.cli import main as cli
from sif.recommender.recommender import Recommender
from tests.tasks.cf.conftest import FIGURES, Command, logged, metrics, ratings


def by_time(seed: int = 0) -> pd.DataFrame:
    """Interactions of which the last users and the last items come late."""
    found = ratings(seed)
    user = found["user_id"].str[-2:].astype(int)
    item = found["item_id"].str[2:].astype(int)
    late = 1e6 * (user >= 32) + 5e5 * (item == 29)
    return found.assign(timestamp=found["timestamp"] + late.astype(int))


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory, tiny: list[str]) -> Path:
    """The run folder of a job under a split by time; do not change it."""
    folder = tmp_path_factory.mktemp("temporal")
    by_time().to_csv(folder / "orders.csv", index=False)
    run = folder / "run"
    job = ["--task", "cf", "--dataset", folder / "orders.csv", "--output-dir", run]
    settings = [*tiny, "data.protocol=temporal", "refit=none"]  # which makes many users warm
    assert cli.main([*map(str, job), "--no-tracking", "--quiet", *settings]) == 0
    return run


def test_a_split_by_time_tells_groups_apart(temporal: Path) -> None:
    found = metrics(temporal)
    assert found["cold"]["interactions"] == found["protocol"]["counts"]["test"]
    assert 0 < found["cold"]["warm"] < 1
    for said in (found, *found["baselines"].values()):
        groups = dict(said["groups"])
        groups.pop("warm")
        assert sum(g["interactions"] for g in groups.values()) == found["cold"]["interactions"]
        users = sum(g["users"] for g in groups.values())
        assert users == found["protocol"]["sizes"]["user"] - found["users_left_out"]
        whole = said["test"] if said is found else said
        total = sum(g["ndcg@10"] * g["users"] for g in groups.values())
        assert total / users == pytest.approx(whole["ndcg@10"])
    # Every model gives a cold user the same list.
    cold = [said["groups"]["cold-user"] for said in (found, *found["baselines"].values())]
    assert all(other == cold[0] for other in cold)
    (end,) = [line for line in logged(temporal) if line["stage"] == "run"]
    for group, numbers in found["groups"].items():
        for name, value in numbers.items():
            assert end[f"test.groups/{group}.{name}"] == value


def test_a_split_by_time_shows_a_timeline_and_groups(
    temporal: Path, sif: Command, tmp_path: Path
) -> None:
    assert {p.stem for p in (temporal / "plots").glob("*.png")} == FIGURES | {"split", "groups"}
    log = (temporal / "log.txt").read_text()
    assert "test group" in log and "cold-user" in log
    copy = tmp_path / "copy"
    shutil.copytree(temporal, copy)
    pictures = {p.name: p.read_bytes() for p in (copy / "plots").glob("*.png")}
    for path in (copy / "plots").glob("*.png"):
        path.unlink()
    assert sif("plot", copy).code == 0
    assert {p.name: p.read_bytes() for p in (copy / "plots").glob("*.png")} == pictures


def test_the_saved_model_keeps_the_rule_for_cold_users(temporal: Path, sif: Command) -> None:
    assert json.loads(sif("evaluate", temporal).out) == metrics(temporal)["test"]
    model = Recommender.load(temporal / "model")
    cold_start = model.model_.scorer.cold_start
    assert cold_start is not None
    cold = np.flatnonzero(cold_start.cold_users)
    assert len(cold) > 1
    np.testing.assert_array_equal(
        model.model_.scorer.scores(cold), np.broadcast_to(cold_start.order, (len(cold), 30))
    )


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("objective", ["ranking", "rating"])
@pytest.mark.parametrize("protocol", ["temporal", "time-cut", "last-item"])
def test_both_objectives_run_under_splits_by_time(
    objective: str, protocol: str, sif: Command, tiny: list[str]
) -> None:
    by_time().to_csv("orders.csv", index=False)
    baselines = "baselines=[popularity]" if objective == "ranking" else "baselines=[bias-only]"
    done = sif(
        "--task", "cf", "--dataset", "orders.csv", "--output-dir", "run", "--no-tracking", *tiny,
        baselines, f"objective={objective}", f"data.protocol={protocol}",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = metrics(Path("run"))
    assert found["protocol"]["name"] == protocol
    assert ("test group" in done.out) == (found["cold"]["warm"] < 1)
    groups = {name for name in found["groups"] if name != "warm" or objective == "rating"}
    counted = sum(found["groups"][name]["interactions"] for name in groups)
    assert counted == found["cold"]["interactions"]
    if protocol == "last-item":
        assert found["cold"]["cold_user"] == 0
