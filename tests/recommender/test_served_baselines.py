"""Baselines as served models: the scores of the fit, and everything that a recommender answers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares

from sif import Recommender
from sif.adapters.export import export
from sif.adapters.implicit import SIFFactors, to_implicit
from sif.adapters.questions import Answering
from sif.baselines import BASELINES, SIMPLEST_FIRST
from sif.baselines.ease import ease_network
from sif.config import CFConfig, load_config
from sif.data.interactions import Interactions
from sif.errors import CheckpointError, ConfigError
from sif.evaluation.histories import HistoryReader
from sif.problems.interactions import InteractionProblem
from sif.recommender.inputs import parts
from sif.recommender.model import FILE, KIND, ServedModel
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.linear.network import OrderNetwork
from sif.testing import RECOMMENDER_CHECKS, RecommenderCase
from sif.utils.checkpoint import load as load_file
from sif.utils.checkpoint import save as save_file
from sif.utils.device import make_runtime
from sif.utils.random import derive_seed

PARAMS: dict[str, dict[str, float]] = {
    "popularity": {},
    "recent-popularity": {"half_life": 0.25},
    "markov": {"smoothing": 1.0},
    "item-knn": {"k": 20, "shrink": 1.0, "idf": 1.0},
    "rp3beta": {"k": 20, "alpha": 0.8, "beta": 0.4},
    "ease": {"l2": 20.0},
    "slim": {"l2": 5.0, "l1": 0.1},
    "decayed-ridge": {"l2": 5.0, "discount": 0.1},
    "als": {"dimension": 8, "l2": 3.0, "alpha": 4.0, "epochs": 15},
    "bpr": {"dimension": 8, "learning_rate": 0.05, "l2": 0.02, "epochs": 40, "popularity": 0.5},
}
ALIKE = ("popularity", "recent-popularity")
FACTORS = ("als", "bpr")
OF_SETS = ("item-knn", "rp3beta", "ease", "slim")


def walks(users: int = 60, seed: int = 0) -> pd.DataFrame:
    """Every user walks around one of three circles of 10 items, from somewhere."""
    draws = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        circle, start = draws.integers(0, 3), draws.integers(0, 10)
        for step in range(6):
            item = 10 * circle + (start + step) % 10
            rows.append((f"u{user:02}", f"i{item:02}", 1_000_000 + 60 * step + user))
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"])


@pytest.fixture(scope="module")
def problem() -> InteractionProblem:
    """Of all rows, as a last fit has it."""
    config = load_config("cf", sets=["threads=1", "baselines=[]"], flags={"seed": 0})
    assert isinstance(config, CFConfig)
    known, train, valid = parts(walks(), None, 0)
    return InteractionProblem(train, valid, config, make_runtime("cpu", 0, 1)).again(known)


def served(problem: InteractionProblem, name: str) -> tuple[Any, ServedModel]:
    """The scorer and the model that is made of another fit of the same."""
    serving, params = BASELINES[name].serving, PARAMS[name]
    assert serving is not None
    scorer = problem.baseline_fits.fitted(name, params)
    fit = BASELINES[name].fit(problem.train_part, params, derive_seed(0, "baseline", name), 1)
    network = serving.network(fit, problem.train_part, params)
    return scorer, ServedModel.of_baseline(problem, name, params, network, problem.train_part)


@pytest.fixture(scope="module", params=SIMPLEST_FIRST)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def both(problem: InteractionProblem, name: str) -> tuple[Any, Recommender]:
    scorer, model = served(problem, name)
    recommender = Recommender()
    recommender._serve(model)
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


def test_every_baseline_of_rankings_is_served() -> None:
    ranking = {n for n, one in BASELINES.items() if "ranking" in one.objectives}
    assert set(SIMPLEST_FIRST) == ranking == set(PARAMS)
    assert {n for n, one in BASELINES.items() if one.serving is not None} == ranking


def test_it_is_called_by_its_name_and_parameters(model: Recommender, name: str) -> None:
    told = {
        "popularity": "popularity", "ease": "ease (l2 20)", "markov": "markov (smoothing 1)",
        "item-knn": "item-knn (k 20, shrink 1, idf 1)",
        "rp3beta": "rp3beta (k 20, alpha 0.8, beta 0.4)", "slim": "slim (l2 5, l1 0.1)",
        "recent-popularity": "recent-popularity (half life 0.25)",
        "decayed-ridge": "decayed-ridge (l2 5, discount 0.1)",
        "als": "als (dimension 8, l2 3, alpha 4, epochs 15)",
        "bpr": "bpr (dimension 8, learning rate 0.05, l2 0.02, epochs 40, popularity 0.5)",
    }  # fmt: skip
    assert model.model_.expression == told[name]
    kind = InteractionNetwork if name in FACTORS else OrderNetwork
    assert isinstance(model.model_.trained, kind)


def test_pairs_have_the_scores_of_lists(model: Recommender) -> None:
    best = model.recommend(["u00", "u03"], n=5, exclude_seen=False)
    np.testing.assert_allclose(
        model.predict(best.user, best.item), best.score, rtol=1e-5, atol=1e-6
    )


def test_somebody_with_the_same_items_gets_the_same(model: Recommender, name: str) -> None:
    data = walks()
    mine = data.item[data.user == "u07"].tolist()
    known, listed = model.recommend("u07"), model.recommend_new(mine)
    if name in FACTORS:  # whose factors ended elsewhere than a single solution
        assert listed.item[0][1] == known.item[0][1] == mine[0][1]
        assert len(set(known.item[:3]) & set(listed.item[:3])) >= 2
        return
    pd.testing.assert_frame_equal(known, listed)


def test_reasons_are_the_terms_of_the_score(model: Recommender, name: str) -> None:
    data = walks()
    mine = data.item[data.user == "u07"].tolist()
    item = model.recommend("u07").item[0]
    reasons = model.explain("u07", item)
    assert set(reasons.item) <= set(mine) and (reasons.score != 0).all()
    assert ("age" in reasons) == (name in ("markov", "decayed-ridge"))
    if name in ALIKE:
        assert reasons.empty
    elif name == "markov":
        assert list(reasons.item) == [mine[-1]]
    else:
        assert reasons.score[0] > 0
    if name in (*OF_SETS, "decayed-ridge"):
        assert reasons.score.sum() == pytest.approx(model.predict("u07", item), rel=1e-4)


def test_similar_items_are_of_one_circle_or_refused(model: Recommender, name: str) -> None:
    if name in ALIKE:
        with pytest.raises(ConfigError, match="found one order of the items for everybody"):
            model.similar_items("i03")
        return
    near = model.similar_items("i03", n=3)
    if name == "markov":  # its rows are what follows, and i03 alone has i04 behind it
        assert (near.score == 0).all()
    if name in (*OF_SETS, *FACTORS):
        assert set(near.item.str[1]) == {"0"}


def test_new_users_and_rows(model: Recommender, name: str) -> None:
    rows = pd.DataFrame({"user": "new", "item": ["i04", "i02", "i03"], "timestamp": [3, 1, 2]})
    found = model.fold_in(rows).recommend("new")
    assert not set(found.item) & {"i02", "i03", "i04"}
    pd.testing.assert_frame_equal(found, model.recommend_new(["i02", "i03", "i04"]))
    if name not in ALIKE:
        assert found.item[0][1] == "0"
    if name in ("markov", "decayed-ridge"):
        assert found.item[0] == "i05"
    later = pd.DataFrame({"user": ["new", "new"], "item": ["i05", "brand-new"], "timestamp": 9})
    model.partial_fit(later)
    assert "i05" not in set(model.recommend("new").item)


def test_servers_answer(model: Recommender, name: str) -> None:
    answering = Answering(model.fitted_model())
    table = pd.DataFrame({"user": ["u00", None], "history": [None, ["i02", "i03"]]})
    answers = answering.answers(table, 3)
    assert answers["items"][0] == model.recommend("u00", n=3).item.tolist()
    assert answers["items"][1] == model.recommend_new(["i02", "i03"], n=3).item.tolist()


def test_exports(
    model: Recommender, name: str, tmp_path: Path, check_graph: Callable[[Recommender, Path], None]
) -> None:
    served = to_implicit(model)
    found = served.recommend(0, served.user_items[0], N=3)[0]
    assert served.item_ids[found].tolist() == model.recommend("u00", n=3).item.tolist()
    assert isinstance(served, SIFFactors) == (name in FACTORS)
    if name in FACTORS:
        assert export(model, "torch", tmp_path / "model.pt2")
        return
    check_graph(model, tmp_path)


def test_als_folds_in_by_its_own_normal_equations(problem: InteractionProblem) -> None:
    _, model = served(problem, "als")
    params, network = PARAMS["als"], model.network
    theirs = AlternatingLeastSquares(
        factors=8, regularization=params["l2"], alpha=params["alpha"], num_threads=1
    )
    theirs.user_factors, theirs.item_factors = (
        table.detach().numpy() for table in network.tables.embeddings
    )
    some = model.seen[:7]
    ones = type(some)((np.ones_like(some.data), some.indices, some.indptr), shape=some.shape)
    expected = theirs.recalculate_user(np.arange(7), sp.csr_matrix(ones))
    found = model.fold(0).vectors(ones).vectors
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-4)
    columns = model.seen.T.tocsr()[:5]
    columns.data[:] = 1
    expected = theirs.recalculate_item(np.arange(5), sp.csr_matrix(columns))
    np.testing.assert_allclose(
        model.fold(1).vectors(columns).vectors.numpy(), expected, rtol=1e-3, atol=1e-4
    )


def test_ease_of_fewer_users_than_items_has_the_same_scores() -> None:
    data = walks(12)
    known, _, _ = parts(data, None, 0)
    assert known.sizes[0] < known.sizes[1]
    fit = BASELINES["ease"].fit(known, {"l2": 5.0}, 0, 1)
    expected = fit.scores(np.arange(12)).copy()
    network = ease_network(fit, known, {"l2": 5.0})
    has = np.zeros(known.sizes, np.float32)
    has[tuple(known.ids.T)] = 1
    found = has @ network.weights.numpy()
    np.testing.assert_allclose(found[has == 0], expected[has == 0], rtol=1e-3, atol=1e-5)


def test_histories_of_a_test_are_those_of_the_fit_or_what_is_known(
    problem: InteractionProblem, name: str
) -> None:
    """What `evaluate` of a run asks: a set stays, an order goes on."""
    _, model = served(problem, name)
    first: Interactions = problem.train_part.select(np.arange(0, len(problem.train_part), 2))
    scorer = model.scorer_of(first)
    assert isinstance(scorer, HistoryReader) == (name in ("markov", "decayed-ridge"))
    before = model.scorer.scores(np.arange(5))
    if name in (*OF_SETS, "markov", "decayed-ridge"):
        assert not np.array_equal(scorer.scores(np.arange(5)), before)
    else:
        np.testing.assert_array_equal(scorer.scores(np.arange(5)), before)


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.update(offsets=net["offsets"][1:].clone()),
        lambda net: net.update(offsets=net["offsets"].double()),
        lambda net: net.pop("offsets"),
        lambda net: net["offsets"].__setitem__(0, float("nan")),
    ],
)
def test_a_damaged_order_is_refused(
    problem: InteractionProblem, tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    served(problem, "popularity")[1].save(tmp_path)
    state = load_file(tmp_path / FILE, KIND)
    change(state["network"])
    save_file(tmp_path / FILE, state, KIND)
    with pytest.raises(CheckpointError, match="the model contradicts itself"):
        ServedModel.load(tmp_path)
