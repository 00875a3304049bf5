"""Closed forms as served models: the scores of the fit, and everything a recommender answers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif import Recommender
from sif.adapters.implicit import to_implicit
from sif.config import CFConfig, load_config
from sif.errors import CheckpointError, ConfigError
from sif.evaluation.histories import HistoryReader
from sif.problems.closed_forms import ClosedProblem, closed_problem
from sif.problems.interactions import InteractionProblem
from sif.recommender.inputs import parts
from sif.recommender.model import FILE, KIND, ServedModel
from sif.spaces.closed.design import genotype_of
from sif.spaces.closed.family import Family
from sif.spaces.closed.filters import ChebyshevFilter, GraphFilter
from sif.spaces.closed.item_item import ItemItem
from sif.spaces.closed.network import ClosedNetwork
from sif.spaces.closed.spectrum import Spectrum
from sif.testing import RECOMMENDER_CHECKS, RecommenderCase
from sif.utils.checkpoint import load as load_file
from sif.utils.checkpoint import save as save_file
from sif.utils.device import make_runtime

DESIGNS = (
    ItemItem(l2=2.0, dropout=0.2, user=0.3, item=0.1),
    GraphFilter(user=0.4, phi=0.2, rank=4.0, second=-0.25),
    ChebyshevFilter(degree=4.0, phi=0.0),
    Spectrum(rank=6.0),
)


def walks(users: int = 60, seed: int = 0) -> pd.DataFrame:
    """Every user has six items of one of three circles of 10, which are sets."""
    draws = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        circle, start = draws.integers(0, 3), draws.integers(0, 10)
        rows += [(f"u{user:02}", f"i{10 * circle + (start + n) % 10:02}") for n in range(6)]
    return pd.DataFrame(rows, columns=["user", "item"])


@pytest.fixture(scope="module")
def problem() -> ClosedProblem:
    """Of all rows, as a last fit has it."""
    config = load_config("cf", sets=["threads=1", "baselines=[]"], flags={"seed": 0})
    assert isinstance(config, CFConfig)
    known, train, valid = parts(walks(), None, 0)
    runtime = make_runtime("cpu", 0, 1)
    found = closed_problem(InteractionProblem(train, valid, config, runtime))
    assert found is not None
    return found.again(known)


@pytest.fixture(scope="module", params=DESIGNS, ids=lambda design: design.name)
def both(problem: ClosedProblem, request: pytest.FixtureRequest) -> tuple[Any, Recommender]:
    """The scorer of a fit, and the model of another."""
    return served(problem, request.param)


def served(problem: ClosedProblem, design: Family) -> tuple[Any, Recommender]:
    genotype, recommender = genotype_of(design), Recommender()
    scorer = problem.scorer(problem.fitted(genotype, {}))
    network = problem.fitted(genotype, {})
    recommender._serve(ServedModel.in_order(problem, genotype, network, problem.train_part))
    return scorer, recommender


@pytest.fixture
def model(both: tuple[Any, Recommender]) -> Recommender:
    return copy.copy(both[1])


@pytest.mark.parametrize("check", RECOMMENDER_CHECKS, ids=lambda check: check.__name__)
def test_every_promise_is_kept(
    check: Callable[[RecommenderCase], None], both: tuple[Any, Recommender],
    served_case: Callable[..., RecommenderCase],
) -> None:  # fmt: skip
    check(served_case(*both, walks()))


def test_pairs_have_the_scores_of_lists(model: Recommender) -> None:
    best = model.recommend(["u00", "u03"], n=5, exclude_seen=False)
    found = model.predict(best.user, best.item)
    np.testing.assert_allclose(found, best.score, rtol=1e-4, atol=1e-6)
    assert model.model_.expression == model.model_.genotype.expression


def test_somebody_with_the_same_items_gets_the_same_in_any_order(model: Recommender) -> None:
    data = walks()
    mine = data.item[data.user == "u07"].tolist()
    known = model.recommend("u07")
    pd.testing.assert_frame_equal(known, model.recommend_new(mine))
    pd.testing.assert_frame_equal(known, model.recommend_new(mine[::-1]))


def test_reasons_are_the_terms_of_the_score(model: Recommender) -> None:
    data = walks()
    item = model.recommend("u07").item[0]
    reasons = model.explain("u07", item)
    assert set(reasons.item) == set(data.item[data.user == "u07"]) and "age" not in reasons
    assert reasons.score.is_monotonic_decreasing and reasons.score[0] > 0
    assert reasons.score.sum() == pytest.approx(model.predict("u07", item), rel=1e-4)


def test_similar_items_are_of_one_circle(model: Recommender) -> None:
    assert set(model.similar_items("i03", n=3).item.str[1]) == {"0"}
    with pytest.raises(ConfigError, match="found an item-item model"):
        model.similar_users("u00")


def test_new_users_and_rows(model: Recommender) -> None:
    rows = pd.DataFrame({"user": "new", "item": ["i04", "i02", "i03"]})
    found = model.fold_in(rows).recommend("new")
    assert found.item[0][1] == "0" and not set(found.item) & {"i02", "i03", "i04"}
    pd.testing.assert_frame_equal(found, model.recommend_new(["i02", "i03", "i04"]))
    later = pd.DataFrame({"user": ["new", "new"], "item": ["i05", "brand-new"]})
    model.partial_fit(later)
    assert "i05" not in set(model.recommend("new").item)


def test_exports(
    model: Recommender, tmp_path: Path, check_graph: Callable[[Recommender, Path], None]
) -> None:
    exported = to_implicit(model)
    found = exported.recommend(0, exported.user_items[0], N=3)[0]
    assert exported.item_ids[found].tolist() == model.recommend("u00", n=3).item.tolist()
    check_graph(model, tmp_path)


def test_histories_of_a_test_are_those_of_the_fit(problem: ClosedProblem) -> None:
    _, recommender = served(problem, DESIGNS[1])
    first = problem.train_part.select(np.arange(0, len(problem.train_part), 2))
    scorer = recommender.model_.scorer_of(first)
    assert not isinstance(scorer, HistoryReader)


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.update(enters=net["enters"][1:].clone()),
        lambda net: net.update(leaves=net["leaves"].double()),
        lambda net: net.pop("coefficients"),
        lambda net: net["coefficients"].__setitem__(0, 0.0),
        lambda net: net["clicks_items"].__setitem__(0, 99),
        lambda net: net.update(clicks_starts=net["clicks_starts"].flip(0)),
        lambda net: net["first"].__setitem__((0, 0), float("nan")),
        lambda net: net.update(second=net["second"][:, 1:].clone()),
    ],
)
def test_a_damaged_filter_is_refused(
    problem: ClosedProblem, tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    served(problem, DESIGNS[1])[1].model_.save(tmp_path)
    state = load_file(tmp_path / FILE, KIND)
    change(state["network"])
    save_file(tmp_path / FILE, state, KIND)
    with pytest.raises(CheckpointError, match="the model contradicts itself"):
        ServedModel.load(tmp_path)


def test_a_catalog_over_the_limit_has_no_similar_items_but_all_else(
    problem: ClosedProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sif.spaces.linear.inputs.MAX_SIDE", 25)
    monkeypatch.setattr("sif.recommender.functions.MAX_SIDE", 25)
    for design in DESIGNS:
        scorer, recommender = served(problem, design)
        assert isinstance(recommender.model_.trained, ClosedNetwork)
        expected = scorer.scores(np.arange(4))
        found = recommender.model_.scorer.scores(np.arange(4))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        with pytest.raises(ConfigError, match="expected at most 25 items"):
            recommender.similar_items("i03")
        assert recommender.explain("u00", "i03").score.notna().all()
