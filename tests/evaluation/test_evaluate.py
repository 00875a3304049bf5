"""Evaluation protocols against a per-user loop, and the rules for masks, ties and bad scorers."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from sif.data.interactions.interactions import Interactions
from sif.data.interactions.split import Split
from sif.data.interactions.vocabulary import Vocabulary
from sif.errors import ConfigError, DataError, ShapeError
from sif.evaluation import evaluate as protocol
from sif.evaluation.beyond import BEYOND
from sif.evaluation.evaluate import (
    Evaluation,
    evaluate,
    evaluated_users,
    pair_matrix,
    rank_all_items,
)
from sif.evaluation.metrics import ranking_metrics
from tests.doubles import Table

N_USERS, N_ITEMS = 23, 31


def make_split(ids: np.ndarray, part: np.ndarray, rating: np.ndarray | None = None) -> Split:
    vocabularies = tuple(
        Vocabulary([f"{letter}{i:03}" for i in range(n)])
        for letter, n in (("u", N_USERS), ("i", N_ITEMS))
    )
    if rating is not None:
        rating = rating.astype(np.float32)
    interactions = Interactions(ids.astype(np.int64), ("user", "item"), vocabularies, rating)
    return Split(interactions, part.astype(np.int8), "file", 0, "0" * 16)


def random_split(seed: int) -> Split:
    """A third of all pairs in random parts; users 0 and 1 have nothing in test."""
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(N_USERS * N_ITEMS)[: N_USERS * N_ITEMS // 3]
    ids = np.stack([pairs // N_ITEMS, pairs % N_ITEMS], axis=1)
    part = rng.integers(0, 3, len(ids))
    part[(ids[:, 0] < 2) & (part == 2)] = 0
    return make_split(ids, part, rng.integers(1, 6, len(ids)))


def ranked(
    table: Table, split: Split, part: str, k: int = 10, chunk: int | None = None
) -> Evaluation:
    history = (split.train,) if part == "valid" else (split.train, split.valid)
    return rank_all_items(table, history, getattr(split, part), (k,), chunk)


def pairs_of(interactions: Interactions) -> set[tuple[int, int]]:
    return {(int(u), int(i)) for u, i in interactions.ids}


def naive_hits(
    scores: np.ndarray, history: set[tuple[int, int]], truth: set[tuple[int, int]], k: int
) -> tuple[np.ndarray, np.ndarray, set[int]]:
    """Hits, relevant counts and recommended items by sorting each user's unmasked items."""
    hits, counts, recommended = [], [], set()
    for user in sorted({u for u, _ in truth}):
        free = [i for i in range(scores.shape[1]) if (user, i) not in history]
        free.sort(key=lambda i: (-scores[user, i], (user, i) in truth, i))
        top = free[:k]
        recommended.update(top)
        row = [(user, i) in truth for i in top]
        hits.append(row + [False] * (k - len(row)))
        counts.append(sum(u == user for u, _ in truth))
    return np.array(hits), np.array(counts), recommended


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("levels", [2, 6, 10**6])
@pytest.mark.parametrize("part", ["valid", "test"])
def test_ranking_against_a_loop_with_tied_scores(seed: int, levels: int, part: str) -> None:
    split = random_split(seed)
    scores = np.random.default_rng(seed + 100).integers(0, levels, (N_USERS, N_ITEMS))
    scores = scores.astype(np.float32)
    history = pairs_of(split.train) | (pairs_of(split.valid) if part == "test" else set())
    truth = pairs_of(split.valid if part == "valid" else split.test)
    hits, counts, recommended = naive_hits(scores, history, truth, 5)
    found = ranked(Table(scores), split, part, k=5)
    for name, values in ranking_metrics(hits, counts).items():
        np.testing.assert_allclose(found.per_user[name], values)
        assert found.metrics[name] == pytest.approx(values.mean())
    assert found.metrics["coverage@5"] == len(recommended) / N_ITEMS
    assert found.users.tolist() == sorted({u for u, _ in truth})
    assert found.left_out == N_USERS - len(found.users)


@pytest.mark.parametrize("levels", [2, 10**6])
def test_each_cutoff_is_as_alone(levels: int) -> None:
    split = random_split(1)
    scores = np.random.default_rng(5).integers(0, levels, (N_USERS, N_ITEMS)).astype(np.float32)
    history = (split.train, split.valid)
    found = rank_all_items(Table(scores), history, split.test, (3, 10, N_ITEMS + 5))
    for k in (3, 10, N_ITEMS + 5):
        alone = ranked(Table(scores), split, "test", k)
        assert alone.metrics.items() <= found.metrics.items()
        for name, values in alone.per_user.items():
            np.testing.assert_array_equal(found.per_user[name], values)
    assert len(found.metrics) == 3 * 12 and len(found.per_user) == 3 * 10
    assert evaluate(Table(scores), split, "test", "ranking").metrics.keys() == {
        f"{name}@{k}" for k in (10, 20) for name in (*BEYOND, *NAMES)
    }


@pytest.mark.parametrize("chunk", [1, 3, None])
def test_lists_are_judged_by_what_came_before(chunk: int | None) -> None:
    split = random_split(2)
    scores = np.random.default_rng(6).random((N_USERS, N_ITEMS)).astype(np.float32)
    history = (split.train, split.valid)
    before, truth = pairs_of(split.train) | pairs_of(split.valid), pairs_of(split.test)
    found = rank_all_items(Table(scores), history, split.test, (4,), chunk)
    counts = Counter(item for _, item in before)
    n_users = len({user for user, _ in before})
    shown: Counter[int] = Counter()
    for place, user in enumerate(found.users):
        free = [item for item in range(N_ITEMS) if (user, item) not in before]
        top = sorted(free, key=lambda item: (-scores[user, item], (user, item) in truth))[:4]
        shown.update(top)
        bits = [-math.log2(max(counts[item], 1) / n_users) for item in top]
        assert found.per_user["novelty@4"][place] == pytest.approx(np.mean(bits))
        assert found.per_user["arp@4"][place] == pytest.approx(np.mean([counts[i] for i in top]))
    exposed = np.array([shown[item] for item in range(N_ITEMS)])
    apart = np.abs(exposed[:, None] - exposed[None, :]).mean() / (2 * exposed.mean())
    assert found.metrics["gini@4"] == pytest.approx(apart)


NAMES = ("ndcg", "recall", "hit", "mrr", "map", "precision")


def test_neighboring_floats_are_no_ties() -> None:
    low = np.float32(1.0)
    high = np.nextafter(low, np.float32(2.0))
    split = make_split(np.array([[0, 3], [0, 7]]), np.array([2, 0]))
    scores = np.zeros((N_USERS, N_ITEMS), dtype=np.float32)
    scores[0, :3], scores[0, 3] = low, high
    assert ranked(Table(scores), split, "test").metrics["mrr@10"] == 1.0


def test_chunks_change_nothing() -> None:
    split = random_split(0)
    table = Table(np.random.default_rng(0).random((N_USERS, N_ITEMS), dtype=np.float32))
    whole = ranked(table, split, "test")
    for chunk in (1, 4, 100):
        other = ranked(table, split, "test", chunk=chunk)
        assert other.metrics == whole.metrics
        np.testing.assert_array_equal(other.per_user["map@10"], whole.per_user["map@10"])


def test_truth_as_scores_is_perfect_and_constant_scores_find_nothing() -> None:
    split = random_split(3)
    best = ranked(Table(pair_matrix(split.test).toarray()), split, "test")
    assert best.metrics["ndcg@10"] == best.metrics["map@10"] == best.metrics["mrr@10"] == 1.0
    constant = Table(np.zeros((N_USERS, N_ITEMS), dtype=np.float32))
    assert ranked(constant, split, "test", k=3).metrics["hit@3"] == 0.0


def test_scores_of_the_scorer_are_left_alone() -> None:
    scores = np.random.default_rng(0).random((N_USERS, N_ITEMS))
    before = scores.copy()
    ranked(Table(scores), random_split(0), "test")
    np.testing.assert_array_equal(scores, before)


def test_minus_infinity_is_never_recommended() -> None:
    split = random_split(0)
    nothing = Table(np.full((N_USERS, N_ITEMS), -np.inf, dtype=np.float32))
    found = ranked(nothing, split, "test", k=N_ITEMS)
    assert found.metrics[f"hit@{N_ITEMS}"] == found.metrics[f"coverage@{N_ITEMS}"] == 0.0


def test_more_places_than_items() -> None:
    split = random_split(0)
    table = Table(np.random.default_rng(0).random((N_USERS, N_ITEMS)))
    assert ranked(table, split, "test", k=50).metrics["recall@50"] == 1.0


def test_refuses_truth_that_is_in_the_history() -> None:
    split = make_split(np.array([[0, 0], [0, 1], [0, 1]]), np.array([0, 1, 2]))
    with pytest.raises(DataError, match="found 1"):
        ranked(Table(np.zeros((N_USERS, N_ITEMS))), split, "test")


def test_refuses_bad_scorers() -> None:
    split = random_split(0)
    nan = np.zeros((N_USERS, N_ITEMS))
    nan[4, 2] = np.nan
    with pytest.raises(DataError, match="user 4: expected numbers, found NaN"):
        ranked(Table(nan), split, "test")
    with pytest.raises(DataError, match="NaN"):
        evaluate(Table(np.full((N_USERS, N_ITEMS), np.nan)), split, "test", "rating")
    with pytest.raises(ShapeError, match="scores"):
        ranked(Table(np.zeros((N_USERS, 4))), split, "test")
    with pytest.raises(ConfigError, match="objective rating"):
        evaluate(object(), split, "test", "rating")  # type: ignore[arg-type]


def test_refuses_an_empty_part() -> None:
    split = make_split(np.array([[0, 0], [1, 1]]), np.array([0, 0]), np.array([1, 2]))
    table = Table(np.zeros((N_USERS, N_ITEMS)))
    with pytest.raises(DataError, match="found none"):
        ranked(table, split, "test")
    with pytest.raises(DataError, match="found none"):
        evaluate(table, split, "test", "rating")


def test_pairs_merge_repetitions_of_further_fields() -> None:
    vocabularies = (Vocabulary(["a", "b"]), Vocabulary(["x", "y", "z"]), Vocabulary(["m", "n"]))
    ids = np.array([[0, 2, 0], [0, 2, 1], [1, 0, 0]], dtype=np.int64)
    found = pair_matrix(Interactions(ids, ("user", "item", "hour"), vocabularies))
    np.testing.assert_array_equal(found.toarray(), [[0, 0, 1], [1, 0, 0]])


def test_rating_errors_by_hand() -> None:
    ids = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [2, 2]])
    split = make_split(ids, np.array([0, 0, 2, 2, 2]), np.array([1, 4, 5, 2, 1]))
    values = np.zeros((N_USERS, N_ITEMS))
    values[1, 0], values[1, 1], values[2, 2] = 9.0, 3.0, -7.0
    found = evaluate(Table(values), split, "test", "rating")
    # Train ratings 1 and 4 clip the predictions to 4, 3 and 1; their deviation is 1.5.
    assert found.metrics["rmse"] == pytest.approx(np.sqrt(2 / 3))
    assert found.metrics["rmse_std"] == pytest.approx(np.sqrt(2 / 3) / 1.5)
    assert found.metrics["mae"] == pytest.approx(2 / 3)
    assert found.users.tolist() == [1, 2]
    assert found.per_user["squared_error"].tolist() == [2, 0]
    assert found.per_user["count"].tolist() == [2, 1]
    assert found.left_out == N_USERS - 2


def test_per_user_sums_add_up_to_the_metrics() -> None:
    split = random_split(2)
    table = Table(np.random.default_rng(0).random((N_USERS, N_ITEMS)) * 5)
    found = evaluate(table, split, "valid", "rating")
    total = found.per_user["count"].sum()
    assert total == len(split.valid)
    mean_square = found.per_user["squared_error"].sum() / total
    assert found.metrics["rmse"] == pytest.approx(np.sqrt(mean_square))
    assert found.metrics["mae"] == pytest.approx(found.per_user["absolute_error"].sum() / total)


def test_ratings_that_cannot_be_evaluated() -> None:
    ids, part = np.array([[0, 0], [0, 1], [1, 1]]), np.array([0, 0, 2])
    table = Table(np.zeros((N_USERS, N_ITEMS)))
    with pytest.raises(DataError, match="rating: expected a column"):
        evaluate(table, make_split(ids, part), "test", "rating")
    with pytest.raises(DataError, match="found only 3"):
        evaluate(table, make_split(ids, part, np.array([3, 3, 4])), "test", "rating")


def test_pairs_of_some_users_are_those_rows_of_all_pairs() -> None:
    split = random_split(5)
    users = np.array([7, 2, 19])
    found = pair_matrix(split.train, users)
    assert found.shape == (3, N_ITEMS)
    assert (found != pair_matrix(split.train)[users]).nnz == 0


def test_of_many_users_the_same_ones_are_drawn_for_every_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their numbers are those that a ranking of all users has for them."""
    split, draws = random_split(6), np.random.default_rng(1)
    tables = [Table(draws.normal(size=(N_USERS, N_ITEMS)).astype(np.float32)) for _ in range(2)]
    whole = [ranked(table, split, "test") for table in tables]
    monkeypatch.setattr(protocol, "evaluated_users", lambda truth: evaluated_users(truth, 9))
    few = [ranked(table, split, "test") for table in tables]
    assert len(few[0].users) == 9 and np.array_equal(few[0].users, few[1].users)
    assert (np.diff(few[0].users) > 0).all()
    places = np.searchsorted(whole[0].users, few[0].users)
    for all_users, some in zip(whole, few, strict=True):
        assert some.left_out == all_users.left_out
        for name, values in some.per_user.items():
            np.testing.assert_array_equal(values, all_users.per_user[name][places])
            assert some.metrics[name] == pytest.approx(values.mean())


def test_no_user_is_drawn_below_the_bound() -> None:
    split = random_split(7)
    users, left_out = evaluated_users(split.test)
    assert np.array_equal(users, np.unique(split.test.ids[:, 0]))
    assert left_out == N_USERS - len(users)
