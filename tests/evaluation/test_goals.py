"""Goals: their grammar, the bounds, and the choice under them against a loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sif.errors import ConfigError
from sif.evaluation.beyond import BEYOND
from sif.evaluation.choice import chosen
from sif.evaluation.goals import Bound, Goal, goal_of, undominated
from sif.evaluation.metrics import RANKING, ranking_metrics

CUTOFFS = (10, 20)


@pytest.mark.parametrize(("text", "goal"), [
    ("ndcg@10", Goal("ndcg@10")),
    ("coverage@10 >= .3,ndcg@20", Goal("ndcg@20", (Bound("coverage@10", ">=", 0.3),))),
    (" recall@10 , gini@20<=9e-1 ,novelty@10>=+5.",
     Goal("recall@10", (Bound("gini@20", "<=", 0.9), Bound("novelty@10", ">=", 5.0)))),
    ("calibration@10, diversity@20 >= .2",
     Goal("calibration@10", (Bound("diversity@20", ">=", 0.2),))),
    ("ndcg@10, arp@10 >= 5, arp@10 <= 5", Goal("ndcg@10", (Bound("arp@10", ">=", 5.0),
                                                           Bound("arp@10", "<=", 5.0)))),
])  # fmt: skip
def test_texts_that_are_goals(text: str, goal: Goal) -> None:
    assert goal_of(text, CUTOFFS) == goal


@pytest.mark.parametrize(("text", "message"), [
    ("", "serve_by: expected a metric such as ndcg@10, or one with a bound .*, found ''"),
    ("ndcg@10,", "expected a metric such as ndcg@10, .* found ''"),
    ("ndcg", "found 'ndcg'"), ("ndcg@010", "found 'ndcg@010'"), ("ndcg@-1", "found 'ndcg@-1'"),
    ("ndcg@10 > 3", "found 'ndcg@10 > 3'"), ("ndcg@10 >=", "found 'ndcg@10 >='"),
    ("ndgc@10", "expected a metric of ndcg, recall, .* found 'ndgc'; did you mean 'ndcg'"),
    ("ndcg@5", r"expected a length of metrics_at \(10, 20\), found ndcg@5"),
    ("ndcg@10, coverage@10 >= much", "coverage@10 >= much: expected a number, found 'much'"),
    ("ndcg@10, coverage@10 >= nan", "expected a number, found 'nan'"),
    ("ndcg@10, coverage@10 >= 1_0", "expected a number, found '1_0'"),
    ("ndcg@10, coverage@10 >= 1e999", "expected a number, found '1e999'"),
    ("ndcg@10, recall@10", "one metric without a bound.*, found ndcg@10, recall@10"),
    ("ndcg@10 >= 0.1", "one metric without a bound.*, found none"),
    ("coverage@10", "expected a metric of single users to be the best in, found coverage@10"),
    ("ndcg@10, arp@10 >= 5, arp@10 <= 4", r"found arp@10 >= 5 and <= 4"),
])  # fmt: skip
def test_other_texts_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        goal_of(text, CUTOFFS)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("serve_by: ")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ndcgcoverage@10>=<., 23_e-+()'\n\x00", max_size=30))
def test_any_text_is_a_goal_or_a_named_error(text: str) -> None:
    try:
        assert goal_of(text, CUTOFFS).metric
    except ConfigError as error:
        assert "\n" not in str(error)


def test_names_are_those_of_the_metrics() -> None:
    found = ranking_metrics(np.zeros((1, 10), np.bool_), np.ones(1, np.int64))
    assert tuple(found) == tuple(f"{name}@10" for name in RANKING)
    assert not set(RANKING) & set(BEYOND)


def test_shortfalls_by_hand() -> None:
    goal = goal_of("ndcg@10, coverage@10 >= .4, arp@10 <= 50, novelty@10 >= 0", CUTOFFS)
    kept = {"coverage@10": 0.4, "arp@10": 50.0, "novelty@10": 0.0}
    assert goal.shortfall(kept) == 0
    assert goal.shortfall({**kept, "coverage@10": 0.3}) == pytest.approx(0.25)
    assert goal.shortfall({**kept, "coverage@10": 0.3, "arp@10": 60}) == pytest.approx(0.45)
    assert goal.shortfall({**kept, "novelty@10": -2.0}) == 2.0
    assert goal.shortfall({**kept, "arp@10": math.nan}) == math.inf


def valid(**ndcg_and_coverage: tuple[float, float]) -> dict[str, dict[str, float]]:
    return {name: {"ndcg@10": n, "coverage@10": c} for name, (n, c) in ndcg_and_coverage.items()}


def test_by_means_the_best_that_keeps_the_bounds_or_the_closest() -> None:
    goal = Goal("ndcg@10", (Bound("coverage@10", ">=", 0.3),))
    found = valid(a=(0.9, 0.1), b=(0.5, 0.3), c=(0.6, 0.31), d=(0.6, 0.9))
    assert goal.best(found) == "c"
    assert goal.best(valid(a=(0.9, 0.1), b=(0.1, 0.2), c=(0.3, 0.2))) == "c"
    assert Goal("ndcg@10").best(found) == "a"
    assert Goal("arp@10").best({"a": {"arp@10": 5.0}, "b": {"arp@10": 4.0}}) == "b"
    assert goal.best(valid(a=(math.nan, 0.5), b=(0.1, 0.5))) == "b"


def test_the_choice_is_that_of_the_usual_rule_among_those_that_keep_the_bounds() -> None:
    rng = np.random.default_rng(0)
    names = [f"m{n}" for n in range(6)]
    goal = Goal("ndcg@10", (Bound("coverage@10", ">=", 0.5),))
    for _ in range(50):
        merits = {name: rng.normal(rng.random(), 1, 30) for name in names}
        coverage = {name: {"coverage@10": float(rng.random())} for name in names}
        keep = {n: m for n, m in merits.items() if coverage[n]["coverage@10"] >= 0.5}
        found = goal.choice(merits, coverage, names)
        if keep:
            usual = chosen(keep, names)
            assert (found.name, found.leader) == (usual.name, usual.leader)
            models = "model has" if len(keep) == 1 else "models have"
            assert found.among == f"{len(keep)} of 6 {models} coverage@10 >= 0.5"
        else:
            assert found.name == max(names, key=lambda n: coverage[n]["coverage@10"])
            assert found.among == "no model has coverage@10 >= 0.5, and the closest is served"


def test_nobody_beats_the_undominated() -> None:
    rng = np.random.default_rng(2)
    for levels in (3, 100):
        merits = rng.integers(0, levels, (25, 2)).astype(np.float64)
        for row, found in zip(merits, undominated(merits), strict=True):
            beaten = any((o >= row).all() and (o > row).any() for o in merits)
            assert found != beaten


def test_without_bounds_the_choice_is_the_usual_one() -> None:
    merits = {"a": np.array([0.1, 0.9]), "b": np.array([0.5, 0.6])}
    metrics: dict[str, dict[str, float]] = {"a": {}, "b": {}}
    found = Goal("ndcg@10").choice(merits, metrics, ["a", "b"])
    assert found == chosen(merits, ["a", "b"]) and found.among == ""
    lower = Goal("arp@10").merits({"arp@10": np.array([3.0, 1.0])})
    assert lower.tolist() == [-3.0, -1.0]
