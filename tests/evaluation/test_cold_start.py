"""Users and items without a train interaction: a list by popularity, no place, a neutral rating."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import sparse

from sif.baselines import BASELINES, fit_best
from sif.data.interactions.interactions import Interactions
from sif.data.interactions.vocabulary import Vocabulary
from sif.evaluation.cold_start import (
    ColdStartRule,
    cold_rows,
    with_cold_start,
    with_zero_rows,
)
from sif.evaluation.evaluate import RankingScorer, RatingScorer
from sif.evaluation.item_orders import POPULARITY_ORDER
from sif.evaluation.scorers import InteractionScorer
from sif.retrieval.engine import Top
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.function import Design, InteractionNetwork
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.interaction.transforms import PRIMITIVES

# Users 0 to 4 of which 3 is cold, items 0 to 5 of which 2 is cold; 4 is met by three, 1 by two.
PAIRS = [(0, 4), (0, 1), (0, 0), (1, 4), (1, 1), (2, 4), (2, 3), (4, 5)]
BY_POPULARITY = [4, 1, 0, 3, 5]


def interactions(pairs: list[tuple[int, int]], stars: float | None = None) -> Interactions:
    vocabularies = (Vocabulary(range(5)), Vocabulary(range(6)))
    ids = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    rating = None if stars is None else np.linspace(1, stars, len(ids), dtype=np.float32)
    return Interactions(ids, ("user", "item"), vocabularies, rating)


def network(operation: str, biases: bool = False) -> InteractionNetwork:
    shape = TableShape((5, 6), 3, biases=biases, init=1.0)
    draws = torch.Generator().manual_seed(1)
    net = InteractionNetwork(
        Design((PRIMITIVES["~square"],) * 2, OPERATIONS[operation]), shape, draws
    )
    with torch.no_grad():
        for bias in net.tables.biases:
            bias.copy_(torch.arange(len(bias)) + 1.0)
    return net


@dataclass(frozen=True)
class Noise:
    def scores(self, users: np.ndarray) -> np.ndarray:
        table = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
        table[:, 2] = 100.0  # the cold item would always come first
        return table[users]


def test_cold_rows_are_those_without_a_train_row() -> None:
    train = interactions(PAIRS)
    assert np.flatnonzero(cold_rows(train, 0)).tolist() == [3]
    assert np.flatnonzero(cold_rows(train, 1)).tolist() == [2]


def test_popularity_breaks_ties_by_item_number_and_has_no_equals() -> None:
    order = POPULARITY_ORDER.scores(interactions(PAIRS))
    assert np.argsort(-order).tolist() == [*BY_POPULARITY[:2], 0, 3, 5, 2]
    assert len(set(order.tolist())) == 6


def test_a_cold_user_gets_popularity_and_a_cold_item_stands_below_all_others() -> None:
    scorer = with_cold_start(Noise(), ColdStartRule.of(interactions(PAIRS)))
    assert isinstance(scorer, RankingScorer)
    scores = scorer.scores(np.array([3, 0, 3, 4]))
    assert np.argsort(-scores[0])[:5].tolist() == BY_POPULARITY
    np.testing.assert_array_equal(scores[0], scores[2])
    assert np.isneginf(scores[:, 2]).all()
    warm = [0, 1, 3, 4, 5]
    assert (scores[:, warm].min(axis=1) > scores[:, 2]).all()
    np.testing.assert_array_equal(scores[1, warm], Noise().scores(np.array([0]))[0, warm])


def test_without_cold_rows_nothing_is_changed() -> None:
    everyone = interactions([*PAIRS, (3, 2)])
    scores = Noise().scores(np.arange(5))
    rule = ColdStartRule.of(everyone)
    assert rule.applied(scores, rule.cold_users) is scores
    net = network("multiply")
    assert with_zero_rows(net, everyone) is net


@pytest.mark.parametrize("allowed", [None, [1, 2, 3, 5]])
@pytest.mark.parametrize("k", [1, 3, 8])
def test_the_popular_are_found_around_what_a_user_has(allowed: list[int] | None, k: int) -> None:
    rule = ColdStartRule.of(interactions(PAIRS))
    own = Top(np.arange(3 * k).reshape(3, k), np.full((3, k), 7.0, np.float32))
    had = sparse.csr_array(np.array([[1, 1, 0, 0, 0, 0], [1] * 6, [0, 0, 0, 0, 1, 0]]))
    mask = None if allowed is None else np.isin(np.arange(6), allowed)
    found = rule.with_popular(own, np.array([True, False, True]), had, mask)
    assert (found.items[1] == own.items[1]).all() and (found.scores[1] == 7).all()
    for row, has in ((0, {0, 1}), (2, {4})):
        free = [i for i in BY_POPULARITY if i not in has and (allowed is None or i in allowed)][:k]
        assert found.items[row].tolist() == free + [-1] * (k - len(free))
        assert (np.diff(found.scores[row, : len(free)]) < 0).all()
        assert np.isneginf(found.scores[row, len(free) :]).all()
    assert rule.with_popular(own, np.zeros(3, dtype=bool)) is own


def test_folded_rows_are_no_longer_cold_and_folded_items_come_last() -> None:
    rule = ColdStartRule.of(interactions(PAIRS))
    assert np.flatnonzero(rule.never_recommended).tolist() == [2]
    users = rule.with_users(8, np.array([3, 6]))
    assert np.flatnonzero(users.cold_users).tolist() == [5, 7]
    items = rule.with_items(9, np.array([7, 2, 4]))
    assert np.flatnonzero(items.never_recommended).tolist() == [6, 8]
    assert items.popular().tolist() == [*BY_POPULARITY, 2, 7]  # 4 keeps its place
    assert np.argsort(-items.finite_order, kind="stable").tolist() == [*BY_POPULARITY, 2, 7, 6, 8]
    assert rule.popular().tolist() == BY_POPULARITY


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_rule_holds_for_functions_that_factor_and_for_others(operation: str) -> None:
    cold_start = ColdStartRule.of(interactions(PAIRS))
    scorer = InteractionScorer(network(operation).interaction(), cold_start=cold_start)
    plain = InteractionScorer(network(operation).interaction())
    users = np.arange(5)
    np.testing.assert_array_equal(
        scorer.scores(users), cold_start.applied(plain.scores(users), cold_start.cold_users)
    )


@pytest.mark.parametrize("name", ["popularity", "als", "bpr", "ease"])
def test_every_ranking_baseline_keeps_to_the_rule(name: str) -> None:
    if name in ("als", "bpr"):
        pytest.importorskip("implicit")
    train, valid = interactions(PAIRS), interactions([(3, 4), (1, 2)])
    fitted = fit_best(BASELINES[name], train, valid, "ranking", seed=0, threads=1)
    assert isinstance(fitted.scorer, RankingScorer)
    scores = fitted.scorer.scores(np.arange(5))
    assert np.argsort(-scores[3])[:5].tolist() == BY_POPULARITY
    assert np.isneginf(scores[:, 2]).all()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_predictions_of_cold_rows_do_not_depend_on_their_random_start(operation: str) -> None:
    train = interactions(PAIRS, stars=5)
    one, other = network(operation, biases=True), network(operation, biases=True)
    with torch.no_grad():
        for tables in (other.tables.embeddings, other.tables.biases):
            tables[0][3] += 7.0
            tables[1][2] -= 7.0
    before = one.tables.embeddings[0].detach().clone()
    ids = np.array([(u, i) for u in range(5) for i in range(6)])
    found = [
        InteractionScorer(with_zero_rows(net, train).interaction()).predict(ids)
        for net in (one, other)
    ]
    np.testing.assert_array_equal(*found)
    assert torch.equal(one.tables.embeddings[0], before)
    warm = ~((ids[:, 0] == 3) | (ids[:, 1] == 2))
    np.testing.assert_array_equal(
        found[0][warm], InteractionScorer(one.interaction()).predict(ids)[warm]
    )


def test_a_rating_scorer_is_left_as_it_is() -> None:
    train = interactions(PAIRS, stars=5)
    scorer = BASELINES["bias-only"].fit(train, {"user_l2": 1.0, "item_l2": 1.0}, 0, 1)
    assert isinstance(scorer, RatingScorer)
    assert with_cold_start(scorer, ColdStartRule.of(train)) is scorer


def test_a_row_is_bare_without_a_pair_with_a_trained_row() -> None:
    rule = ColdStartRule.of(interactions(PAIRS))  # user 3 and item 2 are cold
    users = sparse.csr_array(np.array([[0, 0, 1, 0, 0, 0], [0, 0, 1, 0, 1, 0], [0] * 6]))
    assert rule.without_known_pairs(users).tolist() == [True, False, True]
    items = sparse.csr_array(np.array([[0, 0, 0, 1, 0], [1, 0, 0, 1, 0]]))
    assert rule.without_known_pairs(items, 1).tolist() == [True, False]
    assert rule.without_known_pairs(users[:0]).tolist() == []


def test_scores_of_pairs_are_those_of_whole_rows() -> None:
    rule = ColdStartRule.of(interactions(PAIRS))
    whole = Noise().scores(np.arange(5))
    users, items = (ids.ravel() for ids in np.indices(whole.shape))
    expected = rule.applied(whole, rule.cold_users)
    np.testing.assert_array_equal(rule.of_pairs(whole.ravel(), users, items), expected.ravel())
