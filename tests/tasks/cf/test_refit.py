"""Jobs that fit models again before the test: all of them or none, and never on the test part."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.baselines import BASELINES
from sif.data.interactions import load_split_file
from sif.data.interactions.parts import TEST
from sif.errors import DivergedError
from sif.evaluation.cold_start import ColdStartRule, with_cold_start
from sif.evaluation.evaluate import evaluate_on
from sif.problems import interactions
from sif.problems.interactions import InteractionProblem
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender
from sif.tasks.cf.study import InteractionStudy
from sif.training import loop
from sif.utils import checkpoint

Command = Callable[..., Any]
SETS = (
    "train.l2=[1,3]", "train.evaluate_every=1", "train.epochs=5", "train.batch_size=100",
    "checkpoint_seconds=0",
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("without_figures")


def split(folder: Path, seed: int = 0) -> Path:
    """A split file of 40 users of 30 items, 60/20/20 at random."""
    draws = np.random.default_rng(seed)
    user, item = np.divmod(np.flatnonzero(draws.random(40 * 30) < 0.35), 30)
    stars = 1 + (user + item) % 5
    part = draws.choice(3, size=len(user), p=[0.6, 0.2, 0.2])
    path = folder / "split.npz"
    np.savez(
        path, user=user, item=item, rating=stars.astype(np.float32), part=part,
        user_ids=np.array([f"u{n:02}" for n in range(40)]),
        item_ids=np.array([f"i{n:02}" for n in range(30)]),
    )  # fmt: skip
    return path


@pytest.fixture
def job(sif: Command, tiny: list[str], tmp_path: Path) -> Command:
    """Runs a job on the split into a folder; its metrics."""
    path = split(tmp_path)

    def call(run: str, *sets: str) -> dict[str, Any]:
        words = ["--task", "cf", "--split-file", path, "--output-dir", run, "--no-tracking"]
        done = sif(*words, *tiny, *SETS, *sets)
        assert done.code == 0, done.err
        return metrics(run)

    return call


def metrics(run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(run) / "metrics.json").read_text())
    return found


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        varying = ("seconds", "peak_memory_mb", "plan", "refit")
        return {k: without_times(v) for k, v in value.items() if not k.endswith(varying)}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def weights(run: str) -> dict[str, np.ndarray]:
    state = checkpoint.load(Path(run) / "model" / "recommender.safetensors", "recommender")
    return {name: tensor.numpy() for name, tensor in state["network"].items()}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def stages(run: str) -> set[str]:
    return {path.stem for path in (Path(run) / "checkpoint").iterdir()}


REFITS = {f"refit-{name}" for name in ("searched", "fixed-multiply", "ease", "popularity")}


def test_the_choice_is_of_the_first_fits_and_the_test_of_the_second(job: Command) -> None:
    once, again = job("once", "refit=none"), job("again")
    assert not any(name.startswith("refit") for name in stages("once"))
    assert stages("again") - stages("once") == {"refit", *REFITS}
    assert once["genotype"] == again["genotype"] and once["valid"] == again["valid"]
    assert once["comparison"]["against"] == again["comparison"]["against"]
    assert once["test"] != again["test"] and not same(weights("once"), weights("again"))
    for name, before in once["baselines"].items():
        after = again["baselines"][name]
        assert (before["valid"], before["params"]) == (after["valid"], after["params"]), name
        if name == "random-function":  # the control of the search, compared as first fitted
            assert before["ndcg@10"] == after["ndcg@10"] and "refit" not in after
            continue
        assert after["refit"]["seconds"] >= 0 and "refit" not in before
    searching = [run["searching"] for run in (once, again)]
    assert [one["difference"] for one in searching] == pytest.approx(
        2 * [once["test"]["ndcg@10"] - once["baselines"]["random-function"]["ndcg@10"]]
    )
    assert searching[1]["against"] == "random-function" != again["comparison"]["against"]
    counts = again["protocol"]["counts"]
    said = again["refit"]
    assert (said["setting"], said["tested"], said["served"]) == (
        "valid", "train+valid", "train+valid",
    )  # fmt: skip
    assert said["rows"] == counts["train"] + counts["valid"] and said["steps"] > 0
    assert once["refit"] == {
        "setting": "none", "tested": "train", "served": "train", "rows": counts["train"],
    }  # fmt: skip
    caption = f"tested: fitted again on train + valid ({said['rows']:,} rows) with what validation"
    assert caption in Path("again/log.txt").read_text()
    assert "tested: " not in Path("once/log.txt").read_text()


def test_what_is_saved_is_what_was_tested(job: Command, sif: Command) -> None:
    found = job("again")
    assert json.loads(sif("evaluate", "again").out) == found["test"]
    model = ServedModel.load(Path("again"))
    assert model.fitted_on == "train+valid"
    rows = load_split_file(Path("split.npz"))
    cold = np.setdiff1d(np.arange(30), np.union1d(rows.train.ids[:, 1], rows.valid.ids[:, 1]))
    assert model.cold_start is not None
    assert np.array_equal(np.flatnonzero(model.cold_start.never_recommended), cold)


@pytest.mark.parametrize("objective", ["ranking", "rating"])
def test_ease_and_biases_are_tested_as_fitted_on_train_and_valid(
    objective: str, job: Command
) -> None:
    name = {"ranking": "ease", "rating": "bias-only"}[objective]
    found = job("again", f"objective={objective}", f"baselines=[{name}]")["baselines"][name]
    rows = load_split_file(Path("split.npz"))
    both = rows.interactions.select(rows.part != TEST)
    scorer = with_cold_start(
        BASELINES[name].fit(both, found["params"], 0, 1), ColdStartRule.of(both)
    )
    expected = evaluate_on(scorer, both, (rows.train, rows.valid), rows.test, objective)
    assert {key: found[key] for key in expected.metrics} == pytest.approx(expected.metrics)


def test_the_test_rows_are_in_nothing_that_is_fitted_again(
    job: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That another test part changes no second fit: `test_job.py`."""
    rows = load_split_file(Path("split.npz"))
    test = {tuple(pair) for pair in rows.test.ids.tolist()}
    again, handed = InteractionProblem.again, []

    def watched(self: InteractionProblem, given: Any) -> InteractionProblem:
        handed.append({tuple(pair) for pair in given.ids.tolist()})
        return again(self, given)

    monkeypatch.setattr(InteractionProblem, "again", watched)
    job("again")
    assert handed and not any(pairs & test for pairs in handed)
    assert all(len(pairs) == len(rows.train) + len(rows.valid) for pairs in handed)


def test_each_entrant_is_tested_once(job: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    evaluate = interactions.evaluate

    def counted(*arguments: Any) -> Any:
        seen.append(arguments[2])
        return evaluate(*arguments)

    monkeypatch.setattr(interactions, "evaluate", counted)
    found = job("again")
    # And the searched function as first fitted, against its control.
    assert seen == ["test"] * (1 + len(found["baselines"]) + 1)


def test_a_refit_that_does_not_fit_into_the_budget_is_left_out_for_all_alike(
    job: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = job("once", "refit=none")
    monkeypatch.setattr(InteractionStudy, "refit_seconds", lambda *_: 1e9)
    late = job("late")
    assert without_times(late) == without_times(once)
    assert same(weights("once"), weights("late"))
    assert late["refit"]["tested"] == late["refit"]["served"] == "train"
    assert late["refit"]["setting"] == "valid" and "are left" in late["refit"]["skipped"]
    log = Path("late/log.txt").read_text()
    assert "no second fits, for no model: " in log
    assert "tested: the first fits, on train alone, of all models alike" in log
    assert stages("late") == stages("once") | {"refit"}


def test_a_control_that_diverges_in_its_second_fit_is_left_out(
    job: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    refit = InteractionStudy.refit

    def broken(self: Any, name: str, *rest: Any) -> Any:
        if name == "fixed-multiply":
            raise DivergedError("training diverged in epoch 1: loss: found nan")
        return refit(self, name, *rest)

    monkeypatch.setattr(InteractionStudy, "refit", broken)
    found = job("again")
    assert list(found["left_out"]) == ["fixed-multiply"]
    assert "fixed-multiply" not in found["baselines"]
    again = {name for name, entry in found["baselines"].items() if "refit" in entry}
    assert again == found["baselines"].keys() - {"random-function"}


@pytest.mark.parametrize("epoch", [1, 6])
def test_a_job_interrupted_in_a_second_fit_ends_as_if_it_were_not(
    epoch: int, job: Command, sif: Command, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = job("whole")
    run_epoch, again, epochs = loop._Training.run_epoch, loop.train_again, [0]

    def counted(self: Any, *arguments: Any) -> float:
        epochs[0] += 1
        if epochs[0] == epoch:
            raise KeyboardInterrupt
        return run_epoch(self, *arguments)

    def interrupted(*arguments: Any, **named: Any) -> float:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop._Training, "run_epoch", counted)
            return again(*arguments, **named)

    words = ["--task", "cf", "--split-file", "split.npz", "--output-dir", "run", "--no-tracking"]
    with monkeypatch.context() as patch:
        patch.setattr("sif.problems.interactions.train_again", interrupted)
        done = sif(*words, *tiny, *SETS)
        assert done.code == 130
    assert "refit" in stages("run") and not any(n.startswith("test-") for n in stages("run"))
    assert sif("--resume", "run").code == 0
    assert without_times(metrics("run")) == without_times(whole)
    assert same(weights("run"), weights("whole"))
    logs = [
        sorted(
            json.dumps(without_times(json.loads(line)))
            for line in Path(run, "metrics.jsonl").read_text().splitlines()
        )
        for run in ("run", "whole")
    ]
    assert logs[0] == logs[1]


def test_refit_all_serves_another_model_under_the_same_figures(job: Command, sif: Command) -> None:
    valid, every = job("valid"), job("all", "refit=all")
    assert without_times(valid) == without_times(every)
    assert not same(weights("valid"), weights("all"))
    assert (every["refit"]["tested"], every["refit"]["served"]) == ("train+valid", "all")
    assert stages("all") - stages("valid") == {"refit-all"}
    log = Path("all/log.txt").read_text()
    assert "saved: the model that was fitted on all rows, test rows included" in log
    done = sif("evaluate", "all")
    assert done.code == 2
    (line,) = done.err
    assert "fitted on all rows" in line and "metrics.json" in line
    assert ServedModel.load(Path("all")).fitted_on == "all"
    assert np.isfinite(Recommender.load("all").predict(["u01"], ["i01"])).all()


def test_a_wrong_word_is_one_line(sif: Command, tiny: list[str]) -> None:
    done = sif("--task", "cf", "--output-dir", "run", *tiny, "refit=test")
    assert done.code == 2
    (line,) = done.err
    assert "refit" in line and "none" in line and not Path("run").exists()


def test_groups_are_of_the_rows_that_were_fitted(
    sif: Command, tiny: list[str], checkerboard: Callable[..., pd.DataFrame]
) -> None:
    """Users who come between the cuts in time are cold without their valid rows alone."""
    frame = checkerboard(40, 20)
    late = frame["user"].str[1:].astype(int) >= 33
    times = np.random.default_rng(0).permutation(len(frame)) + 10_000 * late.to_numpy()
    frame.assign(timestamp=times).to_csv("orders.csv", index=False)
    words = ["--task", "cf", "--dataset", "orders.csv", "--no-tracking", *tiny,
             "data.protocol=temporal", "baselines=[popularity]"]  # fmt: skip
    for run, refit in (("once", "none"), ("again", "valid")):
        done = sif(*words, f"refit={refit}", f"output_dir={run}")
        assert done.code == 0, done.err
    once, again = metrics("once"), metrics("again")
    assert again["cold"]["cold_user"] < once["cold"]["cold_user"]
    assert again["cold"]["interactions"] == once["cold"]["interactions"]


def test_models_in_order_are_fitted_again_with_the_valid_rows_in_their_histories(
    tmp_path: Path, sif: Command
) -> None:
    table = pd.DataFrame({
        "user": np.repeat(np.arange(40), 8),
        "item": (np.repeat(np.arange(40), 8) * 3 + np.tile(np.arange(8), 40)) % 20,
        "timestamp": np.tile(np.arange(8), 40) + 1_000_000,
    })  # fmt: skip
    table.to_csv(tmp_path / "walks.csv", index=False)
    sets = ["data.protocol=last-item", "baselines=[markov,popularity]", "controls=[]"]
    sets += ["search.epochs=2", "train.epochs=2", "train.l2=[1.0]", "methods.nasp.arch_start=0"]
    words = ["--task", "cf", "--dataset", tmp_path / "walks.csv", "--output-dir", tmp_path / "run"]
    done = sif(*words, "--no-tracking", "--quiet", "--set", *sets, "search.arch_every=1")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["baselines"]
    # Every item is followed by the next one: only a history with the valid item knows the test's.
    for name in ("markov", "order"):
        assert found[name]["hit@10"] == 1.0 and found[name]["mrr@10"] > 0.9
        assert found[name]["refit"]
    assert found["popularity"]["mrr@10"] < 0.5
