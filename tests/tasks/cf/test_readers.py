"""Readers of histories as entrants of a job: searched, fitted again, tested, planned, resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sif.data.interactions import load_split_file
from sif.data.interactions.parts import TEST, TRAIN, VALID
from sif.evaluation.evaluate import rank_all_items
from sif.problems.histories import ENTRANTS, HistoryProblem, StateScorer
from sif.recommender.model import ServedModel
from sif.spaces.linear.sequences import Sequences
from sif.training import loop

Command = Callable[..., Any]
USERS, ITEMS = 40, 15
SETS = (
    "checkpoint_seconds=0", "data.order=rows", "histories.search.epochs=2",
    "histories.search.users=16", "histories.search.hidden=4", "histories.search.nodes=2",
    "histories.train.epochs=3", "histories.train.users=16", "histories.train.hidden=4",
    "histories.train.lr=0.05", "search.epochs=2", "train.epochs=2", "baselines=[popularity]",
    "controls=[fixed-multiply]",
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("without_figures")


def write_split(path: Path, last: bool = True) -> None:
    """Walks around a circle, the last item test, the last but one valid; or parts at random."""
    draws = np.random.default_rng(0)
    rows = []
    for user in range(USERS):
        start, length = draws.integers(ITEMS), draws.integers(5, 10)
        for k in range(length):
            part = {length - 1: TEST, length - 2: VALID}.get(k, TRAIN)
            rows.append((user, (start + k) % ITEMS, part))
    user, item, part = np.array(rows).T
    if not last:
        part = draws.permutation(part)
    np.savez(path, user=user, item=item, part=part)


@pytest.fixture
def job(sif: Command, tiny: list[str], tmp_path: Path) -> Command:
    """Runs a job on the split into a folder; its metrics."""
    write_split(tmp_path / "split.npz")

    def call(run: str, *sets: str, code: int = 0) -> dict[str, Any]:
        words = ["--task", "cf", "--split-file", "split.npz", "--output-dir", run, "--no-tracking"]
        done = sif(*words, *tiny, *SETS, *sets)
        assert done.code == code, done.err
        return metrics(run) if code == 0 else {"error": done.err}

    return call


def metrics(run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(run) / "metrics.json").read_text())
    return found


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        varying = ("seconds", "peak_memory_mb", "plan")
        return {k: without_times(v) for k, v in value.items() if not k.endswith(varying)}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def stages(run: str) -> set[str]:
    return {path.stem for path in (Path(run) / "checkpoint").iterdir()}


def test_readers_are_searched_trained_fitted_again_and_tested(job: Command) -> None:
    found = job("run", "histories.readers=[scales,cell,gru,lstm]")
    for name in ENTRANTS:
        entry = found["baselines"][name]
        assert 0 <= entry["valid"]["ndcg@10"] <= 1 and 0 <= entry["ndcg@20"] <= 1
        assert entry["params"]["parameters"] > 0 and entry["refit"]["steps"] > 0
        assert ("search" in entry) == (name in ("scales", "cell"))
        assert {f"train-{name}", f"refit-{name}", f"test-{name}"} <= stages("run")
    assert "item)" in found["baselines"]["scales"]["search"]["found"]
    assert "mean of" in found["baselines"]["cell"]["search"]["found"]
    planned = {row["stage"]: row for row in found["plan"]["stages"]}
    assert planned["search cell"]["settings"] == "2 epochs"
    assert planned["train gru"]["settings"] == "3 epochs"
    assert planned["refit scales"]["settings"] == "what was chosen"
    assert "search gru" not in planned
    assert all(planned[f"train {name}"]["seconds"] > 0 for name in ENTRANTS)
    table = Path("run/log.txt").read_text()
    assert all(f"\n{name} " in table for name in ENTRANTS)
    assert "readers of histories (scales, cell, gru, lstm): compared, not served" in table
    assert ServedModel.load(Path("run")).fitted_on == "train+valid"


def test_a_reader_is_tested_as_fitted_on_train_and_valid_rows(
    job: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested, test = [], HistoryProblem.test

    def kept(self: HistoryProblem, network: Any, part: Any) -> Any:
        tested.append((self, network))
        return test(self, network, part)

    monkeypatch.setattr(HistoryProblem, "test", kept)
    found = job("run", "histories.readers=gru")["baselines"]["gru"]
    ((problem, network),) = tested
    split = load_split_file(Path("split.npz"), order="rows")
    known = split.interactions.select(split.part != TEST)
    assert len(problem.train_part) == len(known)
    order = np.argsort(known.ids[:, 0], kind="stable")
    by_hand = Sequences.of(known.ids[order, 0], known.ids[order, 1], (USERS, ITEMS))
    scorer = StateScorer(network, by_hand, problem.config.train.length)
    expected = rank_all_items(scorer, (split.train, split.valid), split.test)
    assert found["ndcg@10"] == pytest.approx(expected.metrics["ndcg@10"])


def test_another_test_part_changes_no_reader(job: Command, tmp_path: Path) -> None:
    first = job("run", "histories.readers=scales")["baselines"]["scales"]
    rows = dict(np.load("split.npz"))
    rows["item"] = np.where(rows["part"] == TEST, (rows["item"] + 3) % ITEMS, rows["item"])
    np.savez("split.npz", **rows)
    other = job("other", "histories.readers=scales")["baselines"]["scales"]
    for key in ("valid", "params", "search"):
        assert without_times(first[key]) == without_times(other[key])
    ours, theirs = (network(run, "refit-scales") for run in ("run", "other"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def network(run: str, stage: str) -> dict[str, torch.Tensor]:
    from sif.tasks.checkpoint import StageFolder

    state = StageFolder(Path(run) / "checkpoint", 0.0).read(stage)
    assert state is not None
    weights: dict[str, torch.Tensor] = state["network"]
    return weights


@pytest.mark.parametrize("function", ["train", "train_again"])
def test_a_job_interrupted_within_a_reader_ends_as_if_it_were_not(
    function: str, job: Command, sif: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = "histories.readers=scales"
    whole = job("whole", asked)
    run_epoch, original, epochs = loop._Training.run_epoch, getattr(loop, function), [0]

    def counted(self: Any, *arguments: Any) -> float:
        epochs[0] += 1
        if epochs[0] == 2:
            raise KeyboardInterrupt
        return run_epoch(self, *arguments)

    def interrupted(*arguments: Any, **named: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            if function == "train_again" or arguments[4].steps is range:  # else it is a pilot
                patch.setattr(loop._Training, "run_epoch", counted)
            return original(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(f"sif.problems.histories.{function}", interrupted)
        job("run", asked, code=130)
    assert sif("--resume", "run").code == 0
    assert without_times(metrics("run")) == without_times(whole)
    ours, theirs = (network(run, "refit-scales") for run in ("run", "whole"))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_readers_that_cannot_be_had_are_told_on_one_line(job: Command, tmp_path: Path) -> None:
    (line,) = job("a", "histories.readers=[scale]", code=2)["error"]
    assert "histories.readers" in line and "'scale'" in line and "scales" in line
    (line,) = job("b", "histories.readers=[gru]", "objective=rating", code=2)["error"]
    assert "histories.readers: expected objective ranking" in line
    (line,) = job("c", "histories.train.hidden=0", code=2)["error"]
    assert "histories.train.hidden" in line
    write_split(tmp_path / "split.npz", last=False)
    found = job("d", "histories.readers=[gru]")
    assert "gru" not in found["baselines"]
    assert "readers of histories (gru): left out" in Path("d/log.txt").read_text()


def test_users_with_one_train_row_each_name_the_readers(sif: Command, tmp_path: Path) -> None:
    """Each has three rows, of which the last two are tested and validate."""
    user, place = np.repeat(np.arange(9), 3), np.tile(np.arange(3), 9)
    part = np.array([TRAIN, VALID, TEST])[place]
    np.savez(tmp_path / "split.npz", user=user, item=(user + place) % 5, part=part)
    words = ["--task", "cf", "--split-file", "split.npz", "--no-tracking", "--output-dir", "run"]
    done = sif(*words, "--set", "data.order=rows", "histories.readers=[gru]")
    told = "histories.readers=gru: histories: expected at least 2 users with 2 train rows, found 0"
    assert done.code == 2 and done.err == [f"error: {told}"]


def test_a_small_budget_leaves_readers_out_before_it_leaves_out_the_order_model(
    job: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sif.problems import plan

    costs = plan.Costs({}, {}, {}, 1.0, 5, own={
        "order": plan.OwnCost(1.0, 1.0, 1.0),
        "scales": plan.OwnCost(50.0, 50.0, 10.0, closed=False, searching="2 epochs"),
    })  # fmt: skip
    changes = plan._changes(costs, 10.0, ("scales", "order"))
    assert changes.index("scales") < changes.index("order") == len(changes) - 1
