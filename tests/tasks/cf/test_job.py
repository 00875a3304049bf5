"""Whole jobs through the command line: what they leave, and that it can be relied on."""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from sif import tasks
from sif.cli import main as cli
from sif.config import load_config
from sif.core.genotype import read
from sif.problems.base import Trained
from sif.problems.batch_source import MIN_STEPS_PER_PASS
from sif.problems.controls import fixed_multiply
from sif.problems.interactions import InteractionProblem
from sif.problems.l2_grid import GridTraining
from sif.recommender.recommender import Recommender
from sif.search.loop import SearchResult
from sif.spaces.interaction.registry import expression
from sif.tracking import COMMON
from sif.training.loop import TrainResult
from sif.utils import checkpoint

ROOT = Path(__file__).parents[3]
NAMES = ("ndcg", "recall", "hit", "mrr", "map", "precision", "coverage")
RANKING = {f"{name}@{k}" for name in NAMES for k in (10, 20)}
RATING = {"rmse", "rmse_std", "mae"}
FIGURES = {"search", "transforms", "surface", "test", "training"}
OURS = ["searched", "fixed-multiply", "random-function"]
L2 = 2.0  # of `tiny`
AGAIN = OURS[:2]  # a control is compared as first fitted
Command = Callable[..., Any]


def ratings(seed: int = 0, users: int = 40, items: int = 30) -> pd.DataFrame:
    """Ratings by taste and popularity; ids that are no numbers and sort in an order of their own.

    Every user has rated 6 to 14 items.
    """
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=(users, 3)) @ rng.normal(size=(3, items)) + rng.normal(size=items)
    stars = np.clip(np.round(taste) + 3, 1, 5)
    rows = [
        (f"Kundin {user % 7}/{user:02d}", f"00{item}", float(stars[user, item]))
        for user in range(users)
        for item in rng.choice(items, size=rng.integers(6, 15), replace=False)
    ]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])
    table["timestamp"] = 1_000_000_000 + rng.permutation(len(table))
    return table.sample(frac=1, random_state=seed)


def without_times(value: Any) -> Any:
    """The value without what differs between two runs of the same job."""
    if isinstance(value, dict):
        timed = ("seconds", "peak_memory_mb")
        return {k: without_times(v) for k, v in value.items() if not k.endswith(timed)}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def metrics(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return found


def logged(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def stage(run: Path, name: str) -> dict[str, Any]:
    state: dict[str, Any] = checkpoint.load(run / "checkpoint" / f"{name}.safetensors", "stage")
    return state["state"]


def same_bits(a: Any, b: Any) -> bool:
    """Equal values, tensors and arrays bit for bit, times aside."""
    if isinstance(a, dict) and isinstance(b, dict):
        a, b = without_times(a), without_times(b)
        return a.keys() == b.keys() and all(same_bits(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_bits, a, b))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return bool(np.array_equal(a, b))


# What a run leaves


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return ratings()


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny: list[str], table: pd.DataFrame
) -> Path:
    """The run folder of a job on a CSV file; do not change it."""
    folder = tmp_path_factory.mktemp("finished")
    table.to_csv(folder / "orders.csv", index=False)
    run = folder / "run"
    job = ["--task", "cf", "--dataset", folder / "orders.csv", "--output-dir", run]
    assert cli.main([*map(str, job), "--no-tracking", "--quiet", *tiny]) == 0
    return run


def test_validation_may_prefer_fixed_multiply_to_what_was_found(
    tmp_path: Path, tiny: list[str], table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.to_csv(tmp_path / "orders.csv", index=False)
    run = tmp_path / "run"
    job = ["--task", "cf", "--dataset", tmp_path / "orders.csv", "--output-dir", run]

    search = InteractionProblem.search

    def poor(problem: InteractionProblem, *rest: Any) -> SearchResult:
        found = search(problem, *rest)
        blocks = {**found.genotype.blocks, "operation": ((0, "plus"),)}
        genotype = dataclasses.replace(found.genotype, blocks=blocks)
        return dataclasses.replace(found, genotype=genotype)

    monkeypatch.setattr(InteractionProblem, "search", poor)
    monkeypatch.setattr(InteractionProblem, "merit", lambda _, valid: -valid["ndcg@10"])
    assert cli.main([*map(str, job), "--no-tracking", "--quiet", *tiny]) == 0
    found = metrics(run)
    fixed = found["baselines"]["fixed-multiply"]
    assert found["genotype"] == "multiply(user, item)"
    assert found["valid"] == fixed["valid"]
    assert found["test"] == {name: fixed[name] for name in found["test"]}
    assert read(run / "genotype.json").blocks["operation"] == ((0, "multiply"),)
    said = (run / "log.txt").read_text()
    assert "kept: multiply(user, item)" in said
    # The served function is one of the controls, which says nothing as a reference.
    assert found["comparison"]["against"] in ("popularity", "ease")
    told, verdict = found["verdict"].split("; ", 1)
    assert told == "validation prefers fixed-multiply to what the search found"
    assert "fixed-multiply" not in verdict
    assert "fixed-multiply: stands for searched, and the verdict leaves it out" in said
    assert found["entrant"] == "fixed-multiply"


def test_a_search_whose_alpha_took_no_step_is_told(
    tmp_path: Path, tiny: list[str], without_figures: None
) -> None:
    run = tmp_path / "run"
    small = [*tiny, "data.planted.users=30", "data.planted.items=20", "data.planted.density=0.4",
             "search.epochs=3", "search.arch_every=90"]  # fmt: skip
    alone = [*small, "baselines=[]", "controls=[fixed-multiply]"]
    job = ["--task", "cf", "--output-dir", str(run), "--no-tracking", "--quiet"]
    assert cli.main([*job, *alone]) == 0
    found, said = metrics(run), (run / "log.txt").read_text()
    assert (found["search"]["arch_steps"], found["comparison"]) == (0, None)
    assert found["verdict"] == (
        "the search did not move; no verdict: multiply(user, item) is fixed-multiply itself, and "
        "no other baseline was trained"
    )
    assert "searched: the search did not move: search.epochs: expected at least" in said
    planted = "the data were generated by multiply(user, item)"
    assert f"planted: {planted}; the search did not move from multiply(user, item)" in said


def test_generated_data_tell_their_function_in_the_end(
    tmp_path: Path, tiny: list[str], without_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [*tiny, "data.planted.users=30", "data.planted.items=20", "data.planted.density=0.4",
             "data.planted.operation=max", "baselines=[]", "controls=[]"]  # fmt: skip
    search = InteractionProblem.search

    def chosen(problem: InteractionProblem, *rest: Any) -> SearchResult:
        found = search(problem, *rest)
        genotype = fixed_multiply(problem)
        genotype = dataclasses.replace(
            genotype, blocks={**genotype.blocks, "operation": ((0, operation),)}
        )
        return dataclasses.replace(found, genotype=genotype)

    monkeypatch.setattr(InteractionProblem, "search", chosen)
    for operation, told in (("max", "found it"), ("min", "found min(user, item)")):
        run = tmp_path / operation
        job = ["--task", "cf", "--output-dir", str(run), "--no-tracking", "--quiet"]
        assert cli.main([*job, *small]) == 0
        said = (run / "log.txt").read_text()
        assert f"generated by max(user, item); the search {told}\n" in said


def test_a_job_without_rivals_keeps_what_was_found_and_says_that_nothing_was_compared(
    tmp_path: Path, tiny: list[str], table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.to_csv(tmp_path / "orders.csv", index=False)
    run = tmp_path / "run"
    job = ["--task", "cf", "--dataset", tmp_path / "orders.csv", "--output-dir", run]
    # Validation would prefer anything to what was found; the method's own pick is what counts.
    monkeypatch.setattr(InteractionProblem, "merit", lambda _, valid: -valid["ndcg@10"])
    alone = [*tiny, "controls=[]", "baselines=[]"]
    assert cli.main([*map(str, job), "--no-tracking", "--quiet", *alone]) == 0
    found = metrics(run)
    assert found["genotype"] == found["search"]["found"]
    assert found["baselines"] == {}
    assert (found["verdict"], found["comparison"]) == (
        "no verdict: no baseline was trained", None,
    )  # fmt: skip
    assert found["metric"] == "ndcg@10"
    assert (run / "plots" / "test.png").is_file()
    # The note on the star of the table has no star to explain.
    assert not any(line.startswith("*") for line in (run / "log.txt").read_text().splitlines())
    stages = {path.name.split(".")[0] for path in (run / "checkpoint").iterdir()}
    assert stages == {"begin", "plan", "search", "searched-0", "searched-0-start", "refit",
                      "refit-searched", "test-searched"}  # fmt: skip
    history = tasks.search_history(run)
    assert [e["selection"] for e in history] == [e["selection"] for e in stage(run, "search")[
        "history"]]  # fmt: skip


@pytest.mark.parametrize(("metric", "more"), [("ndcg@10", True), ("rmse", False)])
def test_what_validation_prefers_is_the_metrics_own_direction(metric: str, more: bool) -> None:
    problem = object.__new__(InteractionProblem)
    problem.metric = metric
    low, high = (
        Trained(torch.nn.Identity(), TrainResult({metric: value}, 1, 1, [], 0.0))
        for value in (0.2, 0.3)
    )
    assert problem.prefers(high, low) is more
    assert problem.prefers(low, high) is not more
    assert not problem.prefers(low, low)


def test_a_job_leaves_every_file_and_nothing_else(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "config.yaml", "genotype.json", "metrics.json", "metrics.jsonl", "checkpoint", "model",
        "plots", "environment.json", "log.txt", "report.html", "report.json",
    }  # fmt: skip
    assert {p.name for p in finished.parent.iterdir()} == {"orders.csv", "run"}
    hidden = [p for p in finished.rglob("*") if p.name.startswith(".") or "partial" in p.name]
    assert hidden == []


def test_metrics_json_has_the_promised_keys(finished: Path) -> None:
    found = metrics(finished)
    assert {
        "task", "dataset", "method", "seed", "protocol", "genotype", "valid", "test", "baselines",
        "verdict", "search", "train", "total_seconds",
    } <= set(found)  # fmt: skip
    assert (found["task"], found["dataset"], found["method"]) == ("cf", "orders", "nasp")
    assert set(found["valid"]) == set(found["test"]) == RANKING
    assert set(found["baselines"]) == {"fixed-multiply", "random-function", "popularity", "ease"}
    for entry in found["baselines"].values():
        assert set(entry) >= RANKING
        assert set(entry["valid"]) == RANKING
    assert all(0 <= value <= 1 for part in ("valid", "test") for value in found[part].values())
    assert {"seconds", "epochs", "steps", "peak_memory_mb"} <= set(found["search"])
    assert {"seconds", "epochs"} <= set(found["train"])
    assert found["search"]["epochs"] == 6
    assert found["total_seconds"] > found["search"]["seconds"] + found["train"]["seconds"] > 0
    assert found["comparison"]["against"] in found["baselines"]
    assert found["comparison"]["against"] in found["verdict"]


def test_metrics_json_says_what_the_search_trained(finished: Path) -> None:
    found = metrics(finished)["search"]
    assert math.isfinite(found["valid_loss"])
    names = {
        "encoding": ["id", "history", "both"],
        "operation": [
            "multiply", "plus", "min", "max", "concat",
            "multiply+plus", "multiply+min", "multiply+max", "min+max",
        ],
        "weighting": ["even", "users", "items", "both"],
    }  # fmt: skip
    assert {block: list(counts) for block, counts in found["trained"].items()} == names
    # Each weight step trains exactly one operation, and one encoding of each field.
    counts = {block: sum(counts.values()) for block, counts in found["trained"].items()}
    steps = 6 * MIN_STEPS_PER_PASS  # six epochs of a part that would fit into one batch
    assert counts == {"encoding": 2 * steps, "operation": steps, "weighting": steps}
    assert found["steps"] == steps


def test_the_protocol_counts_every_interaction(finished: Path, table: pd.DataFrame) -> None:
    protocol = metrics(finished)["protocol"]
    assert protocol["name"] == "ranking-per-user"
    assert sum(protocol["counts"].values()) == len(table)
    assert protocol["sizes"] == {"user": 40, "item": table["item_id"].nunique()}
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["split_hash"] == protocol["split_hash"]
    assert {"versions", "device", "seed", "git_commit", "data_hash"} <= set(environment)


def test_genotype_and_expression_agree(finished: Path) -> None:
    genotype = read(finished / "genotype.json")
    operation = genotype.operation("operation")
    text = metrics(finished)["genotype"]
    assert text == expression(genotype, ("user", "item"))
    assert text.startswith(f"{operation}(")
    assert set(genotype.blocks) == {"encoding", "embedding", "operation", "weighting"}
    assert genotype.operation("embedding") == "identity"  # not searched by the preset
    assert genotype.parameters == {}


def test_every_step_is_logged_once(finished: Path) -> None:
    lines = logged(finished)
    count = Counter((line["stage"], line["step"]) for line in lines)
    assert set(count.values()) == {1}
    assert {stage for stage, _ in count} == {
        "run", "search", "baseline-popularity", "baseline-ease",
        *(f"retrain-{name}-0" for name in OURS), *(f"refit-{name}" for name in AGAIN),
        *(f"test-{name}" for name in OURS),
    }  # fmt: skip
    assert [line["step"] for line in lines if line["stage"] == "search"] == [1, 2, 3, 4, 5, 6, 0]
    (end,) = [line for line in lines if line["stage"] == "run"]
    assert {k: end[f"test.{k}"] for k in RANKING} == metrics(finished)["test"]


def test_figures_are_whole_pngs(finished: Path) -> None:
    from matplotlib.image import imread

    assert {path.stem for path in (finished / "plots").glob("*.png")} == FIGURES
    for path in (finished / "plots").glob("*.png"):
        picture = imread(path)
        assert min(picture.shape[:2]) > 300
        assert picture[..., :3].std() > 0.01  # something is drawn
    rows = json.loads((finished / "plots" / "figures.json").read_text())["comparison"]["rows"]
    assert [name for name, *_, ours in rows if ours] == ["searched"]


def test_the_model_recommends_what_a_user_has_not_had(
    tmp_path: Path, tiny: list[str], table: pd.DataFrame, sif: Command
) -> None:
    table.to_csv(tmp_path / "orders.csv", index=False)
    finished = tmp_path / "run"
    words = ["--dataset", "orders.csv", "--output-dir", finished, "--no-tracking", *tiny]
    assert sif("--task", "cf", *words, "space=staged", "search.stages=[encoding]").code == 0
    history = table.groupby("user_id")["item_id"].agg(set)
    users = list(history.index)
    model = Recommender.load(finished / "model")
    items, scores = model.recommend(users, n=5, as_arrays=True)
    assert items.shape == scores.shape == (40, 5)
    assert (np.diff(scores, axis=1) <= 0).all()
    catalogue = set(table["item_id"])
    for user, row in zip(users, items.tolist(), strict=True):
        assert len(set(row)) == 5
        assert set(row) <= catalogue - history[user]
    done = sif("recommend", finished, users[3], "-k", 5)
    assert [line.split("\t")[:3] for line in done.out.splitlines()] == [
        [users[3], str(rank), item] for rank, item in enumerate(items[3].tolist(), start=1)
    ]


def test_the_model_evaluates_to_the_metrics_of_the_run(finished: Path, sif: Command) -> None:
    assert json.loads(sif("evaluate", finished).out) == metrics(finished)["test"]


def test_figures_are_drawn_again_from_their_data(
    finished: Path, sif: Command, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    pictures = {p.name: p.read_bytes() for p in (copy / "plots").glob("*.png")}
    for path in (copy / "plots").glob("*.png"):
        path.unlink()
    assert sif("plot", copy).code == 0
    assert {p.name: p.read_bytes() for p in (copy / "plots").glob("*.png")} == pictures


def test_the_configuration_repeats_the_run(
    finished: Path, sif: Command, without_figures: None
) -> None:
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert load_config(None, file=finished / "config.yaml").model_dump(mode="json") == {
        **config,
        "output_dir": None,
    }
    again = sif("--task", "cf", "--config", finished / "config.yaml", "--output-dir", "again")
    assert again.code == 0
    assert without_times(metrics(Path("again"))) == without_times(metrics(finished))
    for name in ("genotype.json", "config.yaml"):
        assert Path("again", name).read_bytes() == (finished / name).read_bytes()
    assert without_times(logged(Path("again"))) == without_times(logged(finished))


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("space", ["sif", "primitives", "staged"])
def test_ratings_are_predicted_in_their_own_units(
    space: str, sif: Command, tiny: list[str], table: pd.DataFrame
) -> None:
    table.to_csv("orders.csv", index=False)
    baselines = "baselines=[global-mean,bias-only]"
    done = sif(
        "--task", "cf", "--dataset", "orders.csv", "--output-dir", "run", "--no-tracking", *tiny,
        baselines, "objective=rating", f"space={space}",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = metrics(Path("run"))
    assert set(found["test"]) == set(found["valid"]) == RATING
    deviation = found["test"]["rmse"] / found["test"]["rmse_std"]
    assert 0.5 < deviation < 2  # of ratings from 1 to 5
    assert "verdict: " in done.out
    predicted = Recommender.load(Path("run/model")).predict(
        table["user_id"].tolist(), table["item_id"].tolist()
    )
    truth = table["rating"].to_numpy()
    assert np.abs(predicted - truth).mean() < np.abs(truth.mean() - truth).mean()


def test_a_function_that_ranks_alike_for_everybody_says_so(finished: Path, sif: Command) -> None:
    assert metrics(finished)["genotype"].startswith(("plus", "concat"))
    assert "ranks items alike for all users; its rec" in (finished / "log.txt").read_text()
    (line,) = sif("recommend", finished, "Kundin 0/00").err
    assert "ranks items alike for all users" in line


def test_three_formats_of_the_same_interactions_give_the_same_run(
    sif: Command, tiny: list[str], table: pd.DataFrame, without_figures: None
) -> None:
    pytest.importorskip("pyarrow")
    table.to_csv("orders.csv", index=False)
    table.to_parquet("orders.parquet", index=False)
    types = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
    typed = table.rename(columns={name: f"{name}:{kind}" for name, kind in types.items()})
    typed.to_csv("orders.inter", sep="\t", index=False)
    found = []
    for suffix in ("csv", "inter", "parquet"):
        job = ["--dataset", f"orders.{suffix}", "--output-dir", suffix, "--no-tracking", *tiny]
        assert sif("--task", "cf", *job).code == 0
        found.append(without_times(metrics(Path(suffix))))
        assert same_bits(stage(Path(suffix), "searched-0"), stage(Path("csv"), "searched-0"))
    assert found[0] == found[1] == found[2]
    assert len({run["protocol"]["split_hash"] for run in found}) == 1


# Splits by time


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


# Nothing of the test part is learned from


def split_arrays(table: pd.DataFrame) -> dict[str, Any]:
    """A split file's arrays: 60/20/20 at random, ratings included."""
    users, user = np.unique(table["user_id"].to_numpy(str), return_inverse=True)
    items, item = np.unique(table["item_id"].to_numpy(str), return_inverse=True)
    part = np.random.default_rng(1).choice(3, size=len(table), p=[0.6, 0.2, 0.2])
    return {
        "user": user, "item": item, "rating": table["rating"].to_numpy(np.float32),
        "timestamp": table["timestamp"].to_numpy(), "part": part,
        "user_ids": users, "item_ids": items,
    }  # fmt: skip


def permuted_test_items(arrays: dict[str, Any]) -> dict[str, Any]:
    """The same test items in other users' hands, no pair twice."""
    rng = np.random.default_rng(2)
    rows = np.flatnonzero(arrays["part"] == 2)
    taken = Counter(zip(arrays["user"].tolist(), arrays["item"].tolist(), strict=True))
    item = arrays["item"].copy()
    for _ in range(20 * len(rows)):
        a, b = rng.choice(rows, size=2, replace=False)
        old = [(arrays["user"][r], item[r]) for r in (a, b)]
        new = [(arrays["user"][a], item[b]), (arrays["user"][b], item[a])]
        if not any(taken[pair] for pair in new):
            taken.subtract(old)
            taken.update(new)
            item[[a, b]] = item[[b, a]]
    return {**arrays, "item": item}


def shifted_test_ratings(arrays: dict[str, Any]) -> dict[str, Any]:
    shift = np.where(arrays["part"] == 2, 7, 0).astype(np.float32)
    return {**arrays, "rating": arrays["rating"] + shift}


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(
    ("objective", "baselines", "change", "metric"),
    [
        ("rating", ["global-mean", "bias-only"], shifted_test_ratings, "rmse"),
        ("ranking", ["popularity", "ease"], permuted_test_items, "ndcg@10"),
    ],
)
def test_another_test_part_changes_nothing_that_is_fitted(
    objective: str,
    baselines: list[str],
    change: Callable[[dict[str, Any]], dict[str, Any]],
    metric: str,
    sif: Command,
    tiny: list[str],
    table: pd.DataFrame,
) -> None:
    arrays = split_arrays(table)
    other = change(arrays)
    runs = []
    for name, content in (("as-it-is", arrays), ("changed", other)):
        np.savez(f"{name}.npz", **content)
        done = sif(
            "--task", "cf", "--split-file", f"{name}.npz", "--output-dir", name, "--no-tracking",
            *tiny, f"objective={objective}", f"baselines=[{','.join(baselines)}]", "train.l2=[1,3]",
            "train.halving_keep=1",
        )  # fmt: skip
        assert done.code == 0, done.err
        runs.append(Path(name))
    places = [f"{name}-{place}" for name in OURS for place in (0, 1)]
    fitted = ["search", *places, *(f"{place}-start" for place in places)]
    fitted += [f"refit-{name}" for name in AGAIN]
    for name in fitted:
        assert same_bits(stage(runs[0], name), stage(runs[1], name)), name
    for name in baselines:
        ours, theirs = (stage(run, f"baseline-{name}") for run in runs)
        assert (ours["valid"], ours["params"]) == (theirs["valid"], theirs["params"])
    found = [metrics(run) for run in runs]
    assert (runs[0] / "genotype.json").read_bytes() == (runs[1] / "genotype.json").read_bytes()
    assert found[0]["valid"] == found[1]["valid"]
    for name, a, b in zip(["network", "scale"], *(weights_of(run) for run in runs), strict=True):
        assert same_bits(a, b), name
    # The test part did change, and its metrics show it.
    assert found[0]["protocol"]["split_hash"] != found[1]["protocol"]["split_hash"]
    assert found[0]["test"][metric] != found[1]["test"][metric]


def weights_of(run: Path) -> list[Any]:
    state = checkpoint.load(run / "model" / "recommender.safetensors", "recommender")
    return [state["network"], state["scale"]]


# Kill and resume


class Nursery:
    """Runs the command line in processes that can be killed.

    They are forked from a server that has imported everything, which saves seconds for each.
    """

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["sif.tasks", "matplotlib.figure", "torch._dynamo"])

    def start(self, arguments: list[str]) -> Any:
        process = self._context.Process(target=cli.main, args=(arguments,))
        process.start()
        return process

    def finish(self, arguments: list[str]) -> None:
        process = self.start(arguments)
        process.join(300)
        assert process.exitcode == 0

    def kill(self, arguments: list[str], run: Path, line: int, delay: float) -> bool:
        """Kills the job when its log has that many lines, and then some; False if too late."""
        process = self.start(arguments)
        log = run / "metrics.jsonl"
        while process.is_alive():
            if log.exists() and log.read_bytes().count(b"\n") >= line:
                time.sleep(delay)
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.0005)
        process.join(300)
        return bool(process.exitcode == -signal.SIGKILL)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs processes that can be forked and killed")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            patch.setenv(name, "1")
        for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
            patch.delenv(name)  # who is killed reports nothing
        yield Nursery()


@pytest.fixture(scope="module")
def killable(tiny: list[str]) -> list[str]:
    """A job saved after every epoch, with batches and negatives drawn at random."""
    longer = ["checkpoint_seconds=0", "search.epochs=40", "search.batch_size=100",
              "train.batch_size=100", "loss.name=bpr", "train.epochs=8", "train.patience=40",
              "train.evaluate_every=1", "train.l2=[1,3]", "train.halving_fraction=0.5",
              "methods.nasp.arch_start=0.1"]  # fmt: skip
    return ["--task", "cf", "--no-tracking", "--quiet", *tiny, *longer]


@pytest.fixture(scope="module")
def uninterrupted(
    nursery: Nursery, killable: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    nursery.finish([*killable, f"output_dir={run}"])
    return run


def assert_same_run(run: Path, other: Path) -> None:
    assert (run / "genotype.json").read_bytes() == (other / "genotype.json").read_bytes()
    assert without_times(metrics(run)) == without_times(metrics(other))
    assert same_bits(weights_of(run), weights_of(other))
    lines = logged(run)
    assert set(Counter((line["stage"], line["step"]) for line in lines).values()) == {1}
    assert without_times(lines) == without_times(logged(other))
    assert {p.name for p in (run / "plots").iterdir()} == {
        p.name for p in (other / "plots").iterdir()
    }
    left = {p.name for p in (run / "checkpoint").iterdir()}
    assert left == {p.name for p in (other / "checkpoint").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "seconds"), [(0, 0), (1, 0), (2, 0.01), (3, 9)])
def test_a_killed_job_ends_as_if_nothing_had_happened(
    seed: int,
    seconds: float,
    nursery: Nursery,
    killable: list[str],
    uninterrupted: Path,
    tmp_path: Path,
) -> None:
    """Slow: each job is killed three times, at twelve moments in all, and then finished."""
    rng = np.random.default_rng(seed)
    run = tmp_path / "run"
    total = len(logged(uninterrupted))
    searched = max(n for n, line in enumerate(logged(uninterrupted)) if line["stage"] == "search")
    moments = [rng.integers(1, searched), rng.integers(searched, total), rng.integers(1, total)]
    arguments = [*killable, f"output_dir={run}", f"checkpoint_seconds={seconds}"]
    kills = 0
    for line in sorted(map(int, moments)):
        kills += nursery.kill(arguments, run, line, float(rng.uniform(0, 0.02)))
        arguments = ["--resume", str(run), "--quiet"]
    assert kills == 3
    nursery.finish(arguments)
    assert_same_run(run, uninterrupted)


@pytest.mark.slow
def test_a_job_killed_before_its_first_step_starts_over(
    nursery: Nursery, killable: list[str], uninterrupted: Path, tmp_path: Path
) -> None:
    """Slow: two whole jobs in processes of their own, long enough to be killed in the middle."""
    run = tmp_path / "run"
    assert nursery.kill([*killable, f"output_dir={run}"], run, 0, 0.0)
    nursery.finish(["--resume", str(run), "--quiet"])
    assert_same_run(run, uninterrupted)


@pytest.mark.usefixtures("without_figures")
def test_resuming_a_finished_run_changes_nothing_and_adds_its_time(
    finished: Path, sif: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = metrics(run)
    assert sif("--resume", run).code == 0
    assert without_times(metrics(run)) == without_times(before)
    assert without_times(logged(run)) == without_times(logged(finished))
    last = max(float(s["seconds"]) for s in saved_stages(run))
    assert last < metrics(run)["total_seconds"] < before["total_seconds"] + 60
    for path in (run / "checkpoint").iterdir():
        assert path.read_bytes() == (finished / "checkpoint" / path.name).read_bytes()


def saved_stages(run: Path) -> list[dict[str, Any]]:
    return [checkpoint.load(path, "stage") for path in (run / "checkpoint").iterdir()]


@pytest.mark.usefixtures("without_figures")
def test_total_seconds_add_up_over_sittings(
    sif: Command, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        time.sleep(0.5)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sif.baselines.base.fit_best", interrupt)
        done = sif("--task", "cf", "--no-tracking", "--output-dir", "run", *tiny)
    assert done.code == 130
    assert done.err[-1].endswith("--resume run")
    first = max(float(state["seconds"]) for state in saved_stages(Path("run")))
    start = time.perf_counter()
    assert sif("--resume", "run").code == 0
    second = time.perf_counter() - start
    assert first < metrics(Path("run"))["total_seconds"] < first + second


@pytest.mark.usefixtures("without_figures")
def test_a_run_is_not_resumed_with_other_settings_or_data(
    sif: Command, tiny: list[str], table: pd.DataFrame
) -> None:
    table.to_csv("orders.csv", index=False)
    job = ["--dataset", "orders.csv", "--output-dir", "run", "--no-tracking"]
    assert sif("--task", "cf", *job, *tiny).code == 0
    before = {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()}
    done = sif("--resume", "run", "--set", "train.epochs=11")
    assert done.code == 2
    (line,) = done.err
    assert line.startswith("error: run: ") and "other settings (train.epochs: 11 or 10)" in line
    table.iloc[1:].to_csv("orders.csv", index=False)
    done = sif("--resume", "run")
    assert done.code == 2
    (line,) = done.err
    assert line.startswith("error: run: ") and "other data: expected split " in line
    assert {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()} == before


# One cut of successive halving

HALVED = ("train.l2=[0.01,3,30]", "train.halving_keep=0.67", "train.halving_fraction=0.3",
          "train.patience=20", "train.extend_grid=0", "baselines=[popularity]")  # fmt: skip


def halved(sif: Command, tiny: list[str], run: str, *sets: str) -> Any:
    return sif("--task", "cf", "--output-dir", run, "--no-tracking", *tiny, *HALVED, *sets)


@pytest.mark.usefixtures("without_figures")
def test_the_better_strengths_are_trained_to_the_end(sif: Command, tiny: list[str]) -> None:
    assert halved(sif, tiny, "run").code == 0
    run = Path("run")
    for name in OURS:
        starts = [stage(run, f"{name}-{place}-start") for place in range(3)]
        assert [s["epochs"] for s in starts] == [3, 3, 3]
        early = [s["valid"]["ndcg@10"] for s in starts]
        kept = sorted(range(3), key=lambda place: -early[place])[:2]
        done = {p.stem for p in (run / "checkpoint").glob(f"{name}-?.safetensors")}
        assert done == {f"{name}-{place}" for place in kept}
        ends = [stage(run, f"{name}-{place}") for place in kept]
        assert [s["epochs"] for s in ends] == [10, 10]
        assert [s["numbers"]["l2"] for s in ends] == [[0.01, 3, 30][place] for place in kept]
        best = max(s["valid"]["ndcg@10"] for s in ends)
        found = metrics(run)
        if name == "searched":  # or fixed multiply, where validation prefers it
            fixed = found["baselines"]["fixed-multiply"]["valid"]["ndcg@10"]
            assert found["valid"]["ndcg@10"] == max(best, fixed)
        else:
            assert found["baselines"][name]["valid"]["ndcg@10"] == best
        assert best >= max(early)


@pytest.mark.usefixtures("without_figures")
def test_a_cut_changes_nothing_for_those_that_are_kept(sif: Command, tiny: list[str]) -> None:
    assert halved(sif, tiny, "run").code == 0
    assert halved(sif, tiny, "whole", "train.halving_keep=1", "train.halving_fraction=1").code == 0
    kept = list((Path("run") / "checkpoint").glob("*-?.safetensors"))
    assert len(kept) == 6
    for path in kept:
        ours, theirs = stage(Path("run"), path.stem), stage(Path("whole"), path.stem)
        assert same_bits(ours["network"], theirs["network"])
        assert ours["valid"] == theirs["valid"]
        assert ours["best_epoch"] == theirs["best_epoch"]


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("moment", [1, 3])
def test_a_job_interrupted_after_the_cut_goes_on_from_there(
    moment: int, sif: Command, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert halved(sif, tiny, "whole").code == 0
    train, after = GridTraining._train, []

    def interrupted(
        self: GridTraining, name: str, genotype: Any, fresh: Any, place: int, l2: float,
        start: Any, checkpointer: Any,
    ) -> Any:  # fmt: skip
        if start is not None:
            after.append(place)
            if len(after) == moment:
                raise KeyboardInterrupt
        return train(self, name, genotype, fresh, place, l2, start, checkpointer)

    with monkeypatch.context() as patch:
        patch.setattr(GridTraining, "_train", interrupted)
        assert halved(sif, tiny, "run").code == 130
    assert len(after) == moment
    assert sif("--resume", "run").code == 0
    assert without_times(metrics(Path("run"))) == without_times(metrics(Path("whole")))
    assert without_times(logged(Path("run"))) == without_times(logged(Path("whole")))
    assert same_bits(weights_of(Path("run")), weights_of(Path("whole")))


@pytest.mark.usefixtures("without_figures")
def test_a_large_part_is_searched_with_encoders_in_blocks(
    sif: Command, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sif.problems.batch_source.MAX_EXACT", 200)
    done = sif(
        "--task", "cf", "--output-dir", "run", "--no-tracking", *tiny,
        "search.max_interactions=100", "baselines=[popularity]", "train.block_bytes=4096",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = metrics(Path("run"))
    assert found["protocol"]["counts"]["train"] > 200
    assert list(found["search"]["trained"]) == ["encoding", "operation", "weighting"]
    told = "".join(done.err)
    for name in ("search", "training"):
        assert re.search(
            rf"note: histories, {name}: [0-9,]+ interactions in [0-9]+ blocks of users, about "
            r"[0-9.]+ [kMG]B at most for a step over one \(train.block_bytes\)",
            told,
        ), told
    assert json.loads(sif("evaluate", "run").out) == found["test"]


# Tracking


def mlflow_tree(uri: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
    """A client, the runs of the experiment by name, and the name of each run's parent."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("sif")
    found = client.search_runs([experiment.experiment_id])
    runs = {run.info.run_name: client.get_run(run.info.run_id) for run in found}
    assert len(runs) == len(found)
    names = {run.info.run_id: name for name, run in runs.items()}
    parents = {
        name: names.get(run.data.tags.get("mlflow.parentRunId"), "") for name, run in runs.items()
    }
    return client, runs, parents


@pytest.mark.slow
def test_mlflow_holds_a_run_per_job_with_one_per_entrant(
    sif: Command, tiny: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Slow: making a store takes MLflow seconds.

    The job is interrupted once, which must not show in the store.
    """

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    uri = f"sqlite:///{tmp_path}/runs.db"
    job = ["--task", "cf", "--output-dir", "run", "--tracking-uri", uri, "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr("sif.baselines.base.fit_best", interrupt)
        assert sif(*job, *tiny, "train.evaluate_every=2").code == 130
    done = sif("--resume", "run", "--quiet")
    assert (done.code, done.err) == (0, [])

    client, runs, parents = mlflow_tree(uri)
    top = "planted · nasp · seed 0"
    expected = {top: "", "search · searched": "searched"}
    for name in (*OURS, "popularity", "ease"):
        expected[name] = top
    for name in OURS:
        expected[f"training · {name}"] = name
        expected[f"l2 {L2:g} · {name}"] = f"training · {name}"
    expected |= {f"second fit · {name}": name for name in AGAIN}
    if "kept: " in (tmp_path / "run" / "log.txt").read_text():  # fixed multiply, fitted again once
        expected.pop("second fit · searched")
    assert parents == expected
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    _assert_told_alike(runs)
    _assert_times(runs, parents)

    found, parent = metrics(Path("run")), runs[top]
    tags = {name: parent.data.tags[name] for name in ("dataset", "split_hash", "genotype")}
    assert tags == {
        "dataset": "planted", "split_hash": found["protocol"]["split_hash"],
        "genotype": found["genotype"],
    }  # fmt: skip
    assert parent.data.tags["verdict"] == found["verdict"]
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith(found["verdict"]) and "| model |" in note
    assert f"python -m sif run --config {tmp_path}/run/config.yaml" in note
    environment = json.loads(Path("run/environment.json").read_text())
    assert parent.data.tags["git_commit"] == str(environment["git_commit"])
    for name, value in found["test"].items():
        key = name.replace("@", "_at_")
        assert parent.data.metrics[f"test.{key}"] == value
        assert parent.data.metrics[f"valid.{key}"] == found["valid"][name]
    group = parent.data.metrics["test.groups/warm.ndcg_at_10"]
    assert group == found["groups"]["warm"]["ndcg@10"]
    for name in ("popularity", "ease"):
        kept = runs[name].data.metrics["test.ndcg_at_10"]
        assert kept == found["baselines"][name]["ndcg@10"]
    assert runs["ease"].data.params["l2"] == str(found["baselines"]["ease"]["params"]["l2"])
    assert parent.data.params["search.epochs"] == "6"

    def steps(run: str, metric: str) -> list[int]:
        history = client.get_metric_history(runs[run].info.run_id, metric)
        return sorted(point.step for point in history)

    assert steps("search · searched", "loss") == [1, 2, 3, 4, 5, 6]
    assert steps("search · searched", "alpha.operation.multiply") == [1, 2, 3, 4, 5, 6]
    assert steps("searched", "search/loss") == [1, 2, 3, 4, 5, 6]
    for name in OURS:  # 1: the cut
        assert steps(f"l2 {L2:g} · {name}", "valid.ndcg_at_10") == [1, 2, 4, 6, 8, 10]
        assert steps(name, "training/valid.ndcg_at_10") == [1, 2, 4, 6, 8, 10]
    assert steps(top, "training/loss") == [1, 2, 4, 6, 8, 10]

    def artifacts(folder: str | None = None) -> set[str]:
        return {file.path for file in client.list_artifacts(parent.info.run_id, folder)}

    assert artifacts("plots") == {f"plots/{name}.png" for name in FIGURES}
    assert artifacts() == {"plots", "genotype.json", "metrics.json", "config.yaml", "report.html"}
    _assert_logged_model(client, uri, runs, found)


def _assert_told_alike(runs: dict[str, Any]) -> None:
    """Data, source, user, description and the common parameters of every run."""
    for name, run in runs.items():
        assert set(COMMON) <= set(run.data.params), name
        assert run.data.params["dataset"] == "planted" and run.data.params["seed"] == "0"
        (given,) = run.inputs.dataset_inputs
        assert given.dataset.name == "planted" and len(given.dataset.digest) == 16
        assert set(json.loads(given.dataset.profile)) == {"num_rows", "users", "items"}
        assert run.data.tags["mlflow.user"] == run.info.user_id != "unknown"
        assert run.data.tags["mlflow.source.type"] == "LOCAL"
        assert run.data.tags.get("mlflow.note.content"), name
    params = {name: run.data.params for name, run in runs.items()}
    assert params["searched"]["method"] == "nasp" and params["ease"]["method"] == "baseline"
    assert params["searched"]["l2"] == params[f"l2 {L2:g} · searched"]["l2"] == str(L2)
    assert params["popularity"]["l2"] == "none" != params["ease"]["l2"]
    assert params["planted · nasp · seed 0"]["l2"] == str(L2)


def _assert_times(runs: dict[str, Any], parents: dict[str, str]) -> None:
    """Runs begin and end within those that hold them, and stages come one after the other."""
    for name, parent in parents.items():
        if parent:
            inner, outer = runs[name].info, runs[parent].info
            assert outer.start_time <= inner.start_time <= inner.end_time <= outer.end_time, name
    stages = [runs[name].info for name in ("search · searched", "training · searched", "ease")]
    for one, other in pairwise(stages):
        assert one.start_time < one.end_time <= other.start_time < other.end_time
    begun = {name: run.data.metrics for name, run in runs.items() if name in OURS}
    for name, numbers in begun.items():  # at least the seconds that the loops took
        lasted = runs[name].info.end_time - runs[name].info.start_time
        assert lasted >= 1000 * numbers["training/seconds"]


def _assert_logged_model(
    client: Any, uri: str, runs: dict[str, Any], found: dict[str, Any]
) -> None:
    """The logged model answers as the run folder's, and has the metrics of the served entrant."""
    import mlflow

    top = runs["planted · nasp · seed 0"]
    (output,) = top.outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert logged.source_run_id == top.info.run_id and logged.status.value == "READY"
    for name in (*OURS, "popularity", "ease"):
        (one,) = (client.get_logged_model(m.model_id) for m in runs[name].outputs.model_outputs)
        numbers = {metric.key: metric.value for metric in one.metrics}
        assert numbers["test.ndcg_at_10"] == runs[name].data.metrics["test.ndcg_at_10"]
        assert (one.name, one.source_run_id) == (name, runs[name].info.run_id)
    values = {metric.key: metric.value for metric in logged.metrics}
    assert values["test.ndcg_at_10"] == found["served"]["test"]["ndcg@10"]
    assert logged.tags["expression"] == found["served"]["expression"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        try:
            model = mlflow.pyfunc.load_model(f"runs:/{top.info.run_id}/model")
        finally:
            mlflow.set_tracking_uri(None)
    ours = Recommender.load(Path("run/model"))
    for user in ours.fitted_model().vocabularies[0].ids[:3].tolist():
        answer = model.predict(pd.DataFrame({"user": [user]}), params={"n": 5})
        assert list(answer["items"][0]) == ours.recommend(user, n=5)["item"].tolist()


@pytest.mark.usefixtures("without_figures")
@pytest.mark.slow
def test_a_large_model_stays_in_the_run_folder(
    sif: Command, tiny: list[str], tmp_path: Path
) -> None:
    """Slow: making a store takes MLflow seconds."""
    uri = f"sqlite:///{tmp_path}/runs.db"
    few = ["tracking.model_mb=0.001", "tracking.run_name=mine", "controls=[]", "baselines=[]"]
    done = sif("--task", "cf", "--output-dir", "run", "--tracking-uri", uri, *tiny, *few)
    assert done.code == 0
    assert any("tracking.model_mb is 0.001" in line for line in done.err)
    client, runs, _ = mlflow_tree(uri)
    (output,) = runs["mine"].outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert logged.tags["folder"] == str(tmp_path / "run" / "model")
    assert not list(Path(logged.artifact_location.removeprefix("file://")).rglob("*"))


@pytest.mark.usefixtures("without_figures")
def test_a_tracking_server_that_is_down_costs_one_line(sif: Command, tiny: list[str]) -> None:
    uri = "http://127.0.0.1:9"
    done = sif("--task", "cf", "--output-dir", "run", "--tracking-uri", uri, "--quiet", *tiny)
    assert done.code == 0
    (line,) = done.err
    assert line.startswith(f"warning: MLflow store {uri} failed")
    assert "verdict: " in done.out
    assert metrics(Path("run"))["test"]
    assert {line["stage"] for line in logged(Path("run"))} >= {"search", "retrain-searched-0"}


def test_tracking_without_mlflow_is_refused_before_anything_is_written(
    sif: Command, tiny: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    done = sif("--task", "cf", *tiny)
    assert done.code == 2
    (line,) = done.err
    assert line.startswith("error: tracking: mlflow") and "--no-tracking" in line
    assert list(tmp_path.iterdir()) == []
