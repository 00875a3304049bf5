"""The model that a job saves: chosen on validation among ours and the baselines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.baselines import BASELINES, SIMPLEST_FIRST
from sif.errors import DataError
from sif.evaluation.choice import Choice
from sif.evaluation.goals import Goal
from sif.problems.base import SEARCHED
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender
from sif.tasks.base import Results
from sif.tasks.cf.serving import _unable, served_document
from sif.tasks.cf.study import InteractionStudy
from sif.utils import checkpoint

Command = Callable[..., Any]
Job = Callable[..., dict[str, Any]]
SETS = (
    "train.l2=[1]", "train.evaluate_every=1", "train.epochs=4", "train.dimension=4", "threads=1",
    "search.epochs=2", "search.dimension=4", "search.arch_every=1", "methods.nasp.arch_start=0",
    "search.stages=[encoding,operation,weighting]", "controls=[]", "checkpoint_seconds=0",
    "data.protocol=last-item",
)  # fmt: skip
BEST = ["baselines=[popularity,markov,ease]"]
pytestmark = pytest.mark.usefixtures("without_figures")


def walks() -> pd.DataFrame:
    """40 users on one of two circles of 10 items: what follows is known, the rest is a set."""
    draws = np.random.default_rng(0)
    rows = [
        (f"u{user:02}", f"i{10 * (user % 2) + (start + step) % 10:02}", 1_000_000 + 60 * step)
        for user, start in enumerate(draws.integers(0, 10, 40))
        for step in range(7)
    ]
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"])


@pytest.fixture
def job(sif: Command, tmp_path: Path) -> Job:
    """Runs a job on the walks into a folder; its metrics."""
    walks().to_csv(tmp_path / "walks.csv", index=False)

    def call(run: str, *sets: str) -> dict[str, Any]:
        words = ["--task", "cf", "--dataset", "walks.csv", "--output-dir", run, "--no-tracking"]
        done = sif(*words, "--set", *SETS, *(sets or BEST))
        assert done.code == 0, done.err
        return metrics(run)

    return call


def metrics(run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(run) / "metrics.json").read_text())
    return found


def log(run: str) -> str:
    return (Path(run) / "log.txt").read_text()


def network(run: str) -> dict[str, np.ndarray]:
    state = checkpoint.load(Path(run) / "model" / "recommender.safetensors", "recommender")
    return {name: tensor.numpy() for name, tensor in state["network"].items()}


def same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        varying = ("seconds", "peak_memory_mb", "plan")
        return {k: without_times(v) for k, v in value.items() if not k.endswith(varying)}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def force(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Validation prefers a model."""
    monkeypatch.setattr("sif.evaluation.goals.chosen", lambda *_: Choice(name, name))


def test_the_job_serves_what_validation_ranks_best_and_says_why(job: Job, sif: Command) -> None:
    found = job("best")
    served, markov = found["served"], found["baselines"]["markov"]
    assert served["name"] == served["leader"] == "markov"
    assert served["expression"] == f"markov (smoothing {markov['params']['smoothing']:g})"
    assert served["valid"] == markov["valid"]
    assert served["test"] == {key: markov[key] for key in served["test"]}
    assert served["rule"] == f"validation ranks it first (ndcg@10 {markov['valid']['ndcg@10']:.4f})"
    assert served["behind"] == served["error"] == 0
    # What is said of the search is said of the search.
    assert found["test"] != served["test"] and "markov" not in found["genotype"]
    assert found["comparison"]["against"] == "markov" and found["refit"]["served"] == "train+valid"
    text = log("best")
    assert "markov * +" in text and "\n+ the model that is served\n" in text
    assert f"\nserved: {served['expression']}: {served['rule']}\n" in text
    again = json.loads(sif("evaluate", "best").out)
    assert {key: again[key] for key in served["test"]} == pytest.approx(served["test"])
    model = Recommender.load("best")
    assert model.fitted_model().expression == served["expression"]
    best = model.recommend("u00", n=1).item[0]
    last = walks().query("user == 'u00'").item.iloc[-1]
    assert best == f"i{int(last[1:]) // 10 * 10 + (int(last[1:]) + 1) % 10:02}"
    assert sif("recommend", "best", "u00", "-n", "2").out.count("\n") == 2


def test_searched_is_served_where_the_setting_says_so(job: Job) -> None:
    best, searched = job("best"), job("searched", "serve=searched", *BEST)
    served = searched.pop("served")
    assert served["name"] == searched["entrant"] == "searched"
    assert served["rule"] == "the searched function, without a choice"
    assert served["expression"] == searched["genotype"]
    assert (served["valid"], served["test"]) == (searched["valid"], searched["test"])
    assert "leader" not in served
    best.pop("served")
    assert without_times(best) == without_times(searched)
    assert ServedModel.load(Path("searched")).expression == searched["genotype"]
    assert "+ the model" not in log("searched") and "\nserved: " not in log("searched")
    assert not list(Path("searched/checkpoint").glob("valid-*"))


@pytest.mark.parametrize("refit", ["none", "valid", "all"])
@pytest.mark.parametrize("name", SIMPLEST_FIRST)
def test_the_saved_baseline_has_the_figures_of_the_table(
    name: str, refit: str, job: Job, sif: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    force(monkeypatch, name)
    found = job("run", f"refit={refit}", f"baselines=[{name}]")
    assert found["served"]["name"] == name
    rows = {"none": "train", "valid": "train+valid", "all": "all"}[refit]
    model = ServedModel.load(Path("run"))
    assert model.fitted_on == found["refit"]["served"] == rows
    assert model.expression == found["served"]["expression"]
    done = sif("evaluate", "run")
    if refit == "all":
        assert done.code == 2 and "fitted on all rows" in done.err[0]
        assert "saved: the model that was fitted on all rows" in log("run")
    else:
        again = json.loads(done.out)
        assert again == pytest.approx({k: found["baselines"][name][k] for k in again}, abs=1e-6)
    assert len(Recommender.load("run").recommend("u01", n=3)) == 3
    alike = f"note: {model.expression} is one order of the items; all users get it, without what"
    assert (alike in log("run")) == (not model.is_personalized) == name.endswith("popularity")


@pytest.mark.parametrize("refit", ["none", "valid"])
def test_ease_needs_no_order(
    refit: str, job: Job, sif: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without times a history is a set, of the rows that were fitted and no others."""
    force(monkeypatch, "ease")
    walks().drop(columns="timestamp").to_csv("walks.csv", index=False)
    sets = ["data.protocol=ranking-per-user", "baselines=[ease]", f"refit={refit}"]
    found = job("run", *sets)
    again = json.loads(sif("evaluate", "run").out)
    assert again == pytest.approx({k: found["baselines"]["ease"][k] for k in again}, abs=1e-6)
    model = Recommender.load("run")
    assert "age" not in model.explain("u00", model.recommend("u00").item[0])
    rows = pd.DataFrame({"user": "new", "item": ["i00", "i02"]})
    pd.testing.assert_frame_equal(
        model.recommend_new(["i02", "i00"]), model.fold_in(rows).recommend("new")
    )


def test_a_simpler_model_that_is_as_good_is_served(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = Choice("ease", "markov", 0.003, 0.0123)
    monkeypatch.setattr("sif.evaluation.goals.chosen", lambda *_: choice)
    found = job("run")
    ease, markov = (found["baselines"][n]["valid"]["ndcg@10"] for n in ("ease", "markov"))
    assert found["served"]["rule"] == (
        "the simplest within a quarter of a standard error of the best on validation, markov "
        f"(ndcg@10 {ease:.4f} against {markov:.4f}, standard error of the difference 0.0123)"
    )
    assert (found["served"]["leader"], found["served"]["behind"]) == ("markov", 0.003)


def test_the_choice_sees_ours_and_all_baselines_on_validation_alone(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watched(merits: Mapping[str, np.ndarray], order: tuple[str, ...]) -> Choice:
        seen.append({name: float(values.mean()) for name, values in merits.items()})
        return Choice(SEARCHED, SEARCHED)

    monkeypatch.setattr("sif.evaluation.goals.chosen", watched)
    found = job("run")
    expected = {SEARCHED: found["valid"]["ndcg@10"]}
    expected |= {name: one["valid"]["ndcg@10"] for name, one in found["baselines"].items()}
    assert seen == [pytest.approx(expected)] * 2  # before second fits and of what came through
    assert found["served"]["name"] == SEARCHED
    assert ServedModel.load(Path("run")).expression == found["genotype"]


def test_too_many_items_are_compared_and_not_served(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    ease = BASELINES["ease"]
    assert ease.serving is not None
    few = replace(ease, serving=replace(ease.serving, most_items=19))
    monkeypatch.setitem(BASELINES, "ease", few)
    found = job("run", "baselines=[ease]")
    assert "ease" in found["baselines"] and found["served"]["name"] == SEARCHED


def test_a_winner_that_cannot_be_fitted_again_gives_way(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    refit = InteractionStudy.refit_baseline

    def broken(self: Any, tuned: Any, keep: bool) -> Any:
        assert keep == (tuned.name == "markov")
        if keep:
            raise DataError("no memory")
        return refit(self, tuned, keep)

    monkeypatch.setattr(InteractionStudy, "refit_baseline", broken)
    found = job("run")
    assert "markov" not in found["baselines"] and found["served"]["name"] != "markov"
    assert "left out: baselines markov: no memory" in log("run")
    model = ServedModel.load(Path("run"))
    assert (model.expression, model.fitted_on) == (found["served"]["expression"], "train+valid")


@pytest.mark.parametrize("failing", [("markov",), SIMPLEST_FIRST])
def test_what_cannot_be_made_a_model_costs_no_job(
    failing: tuple[str, ...], job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = InteractionStudy.baseline_model

    def broken(self: Any, name: str, params: Any) -> Any:
        if name in failing:
            raise DataError("no memory")
        return make(self, name, params)

    monkeypatch.setattr(InteractionStudy, "baseline_model", broken)
    found = job("run")
    assert "markov" in found["baselines"] and found["served"]["name"] != "markov"
    assert "markov cannot be served: no memory" in log("run")
    assert ServedModel.load(Path("run")).expression == found["served"]["expression"]
    if failing == SIMPLEST_FIRST:
        assert found["served"]["name"] == SEARCHED


@pytest.mark.parametrize("where", ["refit_baseline", "baseline_model", "save"])
@pytest.mark.parametrize("refit", ["valid", "all"])
def test_an_interrupted_job_serves_what_the_uninterrupted_one_does(
    where: str, refit: str, job: Job, sif: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = job("whole", f"refit={refit}", *BEST)

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    words = ["--task", "cf", "--dataset", "walks.csv", "--output-dir", "run", "--no-tracking"]
    with monkeypatch.context() as patch:
        patch.setattr(InteractionStudy, where, interrupted)
        assert sif(*words, "--set", *SETS, *BEST, f"refit={refit}").code == 130
    assert sif("--resume", "run").code == 0
    assert without_times(metrics("run")) == without_times(whole)
    assert whole["served"]["name"] == "markov" and same(network("run"), network("whole"))


def test_a_job_without_baselines_serves_ours(job: Job) -> None:
    found = job("run", "baselines=[]")
    assert found["served"]["name"] == SEARCHED and "+ the model" not in log("run")


def test_a_wrong_word_is_one_line(sif: Command) -> None:
    done = sif("--task", "cf", "--output-dir", "run", "--set", "serve=mine")
    assert done.code == 2
    (line,) = done.err
    assert "serve" in line and "searched" in line and not Path("run").exists()


def test_a_better_baseline_that_cannot_be_served_is_named() -> None:
    entries = {
        name: SimpleNamespace(valid={"ndcg@10": valid}, merits=merits)
        for name, valid, merits in (
            (SEARCHED, 0.2, None), ("ease", 0.3, None), ("als", 0.25, np.ones(2)),
            ("order", 0.9, None), ("bpr", 0.1, None),
        )
    }  # fmt: skip
    results: Any = SimpleNamespace(choice=SimpleNamespace(leader="als"), entries=entries)
    told = "; ease (ndcg@10 0.3000) cannot be served: expected at most 15,000 items"
    assert _unable(results, "ndcg@10") == told
    results.choice = SimpleNamespace(leader="order")
    assert _unable(results, "ndcg@10") == ""


@pytest.mark.parametrize("choice", [None, Choice(SEARCHED, SEARCHED), Choice("als", SEARCHED)])
def test_what_stands_for_the_searched_function_is_named(choice: Choice | None) -> None:
    entry = SimpleNamespace(valid={"ndcg@10": 0.2}, merits=None, test=SimpleNamespace(metrics={}))
    entries: Any = dict.fromkeys((SEARCHED, "closed", "als"), entry)
    alone: Any = None
    results = Results({}, {}, {}, entries, alone, 0.0, {}, choice=choice, stands="closed")
    found = served_document(results, Goal("ndcg@10"), "a closed form")
    if choice is None:
        assert found["rule"] == "closed takes the place of the searched function, without a choice"
    else:
        assert found["leader"] == "closed" and "searched" not in found["rule"]
        assert found.keys() >= {"behind", "error"}
    assert found["name"] == ("als" if choice and choice.name == "als" else "closed")
    itself = served_document(replace(results, stands=None), Goal("ndcg@10"), "multiply")
    assert itself["name"] in (SEARCHED, "als") and "closed" not in itself["rule"]


def test_a_best_setting_at_an_end_is_marked(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    ease = BASELINES["ease"]
    monkeypatch.setitem(BASELINES, "ease", replace(ease, grid=({"l2": 1e-3},), further=0.0))
    found = job("run", "baselines=[ease]")
    assert found["baselines"]["ease"]["edge"] == ["l2"]
    assert "^ the best setting is at an end of what was tried: l2 of ease" in log("run")


def test_a_graph_of_the_items_is_saved_and_told_where_it_is_asked_for(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("usearch")
    monkeypatch.setattr("sif.retrieval.approximate.CANDIDATE_COST", 0.1)  # for 20 items
    found = job(
        "run", "baselines=[]", "serve=searched", "search.stages=[encoding]", "retrieval=approximate"
    )
    told = found["retrieval"]
    assert told["kind"] == "approximate" and told["recall@10"] >= 0.98
    assert (told["items"], told["users"]) == (20, 40)
    assert "retrieval: approximate; graph of 20 items built in" in log("run")
    graph = ServedModel.load(Path("run")).graph
    assert graph is not None and len(graph) == 20 and graph.expansion == told["expansion"]
    assert "retrieval" not in job("other", "baselines=[]", "search.stages=[encoding]")
