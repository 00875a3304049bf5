"""Recommenders on held-out interactions, against the evaluation of the same parts by a split."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.data.interactions import build_split, read_frame
from sif.errors import ConfigError, DataError, GenotypeError, NotFittedError
from sif.evaluation.evaluate import evaluate as evaluate_split
from sif.recommender import Recommender
from sif.recommender.evaluating import compare, evaluate
from sif.recommender.search_function import search_function

Board = Callable[..., pd.DataFrame]
QUICK: dict[str, Any] = {
    "train": {"epochs": 40, "dimension": 8, "l2": [0.003]},
    "search": {"epochs": 3, "dimension": 4},
}
USERS, ITEMS = 40, 20


@pytest.fixture(scope="module", params=["ranking", "rating"])
def case(request: pytest.FixtureRequest, checkerboard: Board) -> Any:
    """A model of some of the interactions, the others, and the split that they make."""
    frame = checkerboard(USERS, ITEMS, rated=request.param == "rating")
    part = np.random.default_rng(0).choice([0, 1, 2], len(frame), p=[0.7, 0.1, 0.2])
    split = build_split(read_frame(frame), part, protocol="file", seed=0)
    model = Recommender(request.param, threads=1, baselines=[], settings=QUICK)
    model.fit(frame[part == 0], valid=frame[part == 1])
    return model, frame[part == 2], split


def test_metrics_are_those_of_the_split(case: Any) -> None:
    model, late, split = case
    expected = evaluate_split(model.model_.scorer, split, "test", model.objective)
    for found in (evaluate(model, late), evaluate(model, split)):
        assert found.metrics["rmse" if model.objective == "rating" else "ndcg@10"] > 0
        for name, value in expected.metrics.items():
            # What is known of a model is its train and validation part, whose deviation this is.
            tolerance = 0.05 if name == "rmse_std" else 1e-6
            assert found.metrics[name] == pytest.approx(value, rel=tolerance), name


def test_what_the_model_does_not_know(case: Any) -> None:
    model, late, _ = case
    before = evaluate(model, late)
    strangers = late.assign(user="x" + late.user)
    assert evaluate(model, pd.concat([late, strangers])).metrics == before.metrics
    with pytest.raises(DataError, match="data: expected users whom the model knows, found none"):
        evaluate(model, strangers)
    more = pd.concat([late, late.assign(item="new")]).drop_duplicates(["user", "item"])
    after = evaluate(model, more)
    if model.objective == "rating":
        assert after.metrics == before.metrics
    else:  # an unknown item is missed by everybody
        count = late.groupby("user").size()
        share = (count / (count + 1)).loc[sorted(count.index)]
        hits = before.per_user["recall@10"] * share.to_numpy()
        assert after.metrics["recall@10"] == pytest.approx(hits.mean())


def test_pairs_of_the_fit_are_refused(case: Any, checkerboard: Board) -> None:
    model, _, _ = case
    if model.objective == "ranking":
        with pytest.raises(DataError, match="no pair both in the history and in the evaluated"):
            evaluate(model, checkerboard(USERS, ITEMS))
    with pytest.raises(NotFittedError):
        evaluate(Recommender(), checkerboard(USERS, ITEMS))


def test_models_are_compared_user_by_user(case: Any, checkerboard: Board) -> None:
    model, late, _ = case
    rated = model.objective == "rating"
    metric, few = ("rmse", {"train.epochs": 1}) if rated else ("ndcg@10", {"train.epochs": 1})
    known = checkerboard(USERS, ITEMS, rated).merge(late, how="left", indicator=True)
    known = known[known["_merge"] == "left_only"].drop(columns="_merge")
    weak = Recommender(
        model.objective, dimension=2, threads=1, baselines=[],
        settings={**few, "train.l2": [100.0], "search.epochs": 1},
    ).fit(known[known.user != "u0"])  # fmt: skip
    table = compare({"good": model, "weak": weak}, late, against="weak")
    assert table["model"].tolist() == ["good", "weak"]
    good, bad = table.to_dict("records")
    assert good["outcome"] == "better" and bad["outcome"] == "reference"
    assert good["low"] <= good["difference"] <= good["high"]
    assert good[metric] - bad[metric] == pytest.approx(good["difference"])
    common = late[late.user != "u0"]  # whom the weak one does not know
    assert good[metric] == pytest.approx(evaluate(model, common).metrics[metric], rel=1e-6)
    (_, turned) = compare({"weak": weak, "good": model}, late).to_dict("records")
    assert turned["difference"] == pytest.approx(good["difference"])


def test_wrong_comparisons_are_told(case: Any) -> None:
    model, late, _ = case
    with pytest.raises(ConfigError, match="against: expected one of one, found 'two'"):
        compare({"one": model}, late, against="two")
    with pytest.raises(ConfigError, match="models: expected some of one objective, found none"):
        compare({}, late)
    with pytest.raises(ConfigError, match=r"metric: expected one of .* found .precise."):
        compare({"one": model, "two": model}, late, metric="precise")


def test_a_search_alone_finds_what_a_fit_finds(checkerboard: Board) -> None:
    frame = checkerboard(USERS, ITEMS)
    settings: dict[str, Any] = {**QUICK, "search.adapt_l2": False}
    find = partial(search_function, frame, threads=1, settings=settings)
    genotype = find()
    model = Recommender(threads=1, baselines=[], settings=settings).fit(frame)
    assert genotype.expression == model.searched_function_
    assert find(space="primitives", method="random-ws").space == "primitives"
    with pytest.raises(ConfigError, match=r"method: .*'random-ws'"):
        find(method="random-sw")
    with pytest.raises(ConfigError, match=r"^budget: expected seconds"):
        find(budget="fast")


@pytest.mark.parametrize("space", ["staged", "sif", "primitives"])
def test_a_genotype_writes_itself_as_its_model_does(checkerboard: Board, space: str) -> None:
    search = {**QUICK["search"], "epochs": 100 if space != "staged" else 3, "batch_size": None}
    settings: dict[str, Any] = {**QUICK, "search": search}
    frame = checkerboard(20, 10)
    genotype = search_function(frame, space, "random", threads=1, settings=settings)
    from sif.spaces.interaction.registry import expression

    assert genotype.expression == expression(genotype, ("user", "item"))
    again = type(genotype).from_json(genotype.to_json())
    assert again == genotype and again.expression == genotype.expression
    with pytest.raises(GenotypeError):
        type(genotype).from_json("{}")
