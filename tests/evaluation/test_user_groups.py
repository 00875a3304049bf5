"""Groups of an evaluation: by hand, against a second pass, and that parts make the whole."""

from __future__ import annotations

import numpy as np
import pytest

from sif.data.interactions.interactions import Interactions
from sif.data.interactions.vocabulary import Vocabulary
from sif.errors import DataError
from sif.evaluation.beyond import BEYOND
from sif.evaluation.cold_start import ColdStartRule, WithColdStartRule, cold_rows
from sif.evaluation.comparison import compare
from sif.evaluation.evaluate import Evaluation, rank_all_items, rating_errors
from sif.evaluation.user_groups import (
    COLD_ITEM,
    COLD_USER,
    WARM,
    cold_shares,
    groups_of,
    history_names,
)
from tests.doubles import Table


def interactions(
    pairs: list[tuple[int, int]], n: tuple[int, int], rating: list[float] | None = None
) -> Interactions:
    stars = None if rating is None else np.array(rating, dtype=np.float32)
    ids = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Interactions(ids, ("user", "item"), tuple(Vocabulary(range(k)) for k in n), stars)


def random_parts(seed: int) -> tuple[Interactions, Interactions]:
    """70 users with 0 to 60 train items of 90, and up to 12 others to find; some items are cold."""
    rng = np.random.default_rng(seed)
    train, truth = [], []
    for user in range(70):
        items = rng.permutation(90)
        known = [i for i in items[: rng.integers(0, 61) * (user % 5 > 0)] if i % 9]
        train += [(user, int(i)) for i in known]
        truth += [(user, int(i)) for i in items[70 : 70 + rng.integers(0, 13)]]
    return interactions(train, (70, 90)), interactions(truth, (70, 90))


def test_names_follow_the_bounds() -> None:
    assert history_names() == ["history-1-9", "history-10-49", "history-50-up"]


def test_ranking_groups_by_hand() -> None:
    # User 0 has ten train items, user 1 one, user 2 none; items 10 and 11 are cold.
    train = interactions([*((0, i) for i in range(10)), (1, 0)], (4, 14))
    train = interactions([*map(tuple, train.ids.tolist()), (3, 12), (3, 13)], (4, 14))
    truth = interactions([(0, 12), (0, 10), (1, 11), (1, 1), (2, 0), (2, 11)], (4, 14))
    values = np.tile(-np.arange(14, dtype=np.float32), (4, 1))
    scorer = WithColdStartRule(Table(values), ColdStartRule.of(train))
    groups = groups_of(rank_all_items(scorer, (train,), truth), train, truth)
    assert set(groups) == {COLD_USER, "history-1-9", "history-10-49", WARM}
    assert {n: len(g.evaluation.users) for n, g in groups.items()} == {
        COLD_USER: 1, "history-1-9": 1, "history-10-49": 1, WARM: 2,
    }  # fmt: skip
    assert {n: g.interactions for n, g in groups.items()} == {
        COLD_USER: 2, "history-1-9": 2, "history-10-49": 2, WARM: 2,
    }  # fmt: skip
    # Each finds its warm item in the first place; over two relevant ones the ideal is 1 + 1/log2 3.
    ideal = 1 + 1 / np.log2(3)
    for name in (COLD_USER, "history-1-9", "history-10-49"):
        found = groups[name].evaluation.metrics
        assert found["ndcg@10"] == pytest.approx(1 / ideal)
        assert found["recall@10"] == found["map@10"] == 0.5
    warm = groups[WARM].evaluation.metrics
    assert warm["ndcg@10"] == warm["recall@10"] == warm["map@10"] == pytest.approx(1.0)
    assert warm["precision@10"] == pytest.approx(0.1)
    assert groups[WARM].document() == {"users": 2, "interactions": 2, **warm}


def accuracy(found: Evaluation) -> set[str]:
    return {name for name in found.per_user if name.partition("@")[0] not in BEYOND}


@pytest.mark.parametrize("seed", range(4))
def test_the_warm_group_is_a_ranking_with_cold_items_taken_out_of_the_truth(seed: int) -> None:
    train, truth = random_parts(seed)
    values = np.random.default_rng(seed).normal(size=(70, 90)).astype(np.float32)
    scorer = WithColdStartRule(Table(values), ColdStartRule.of(train))
    user, item = (~cold_rows(train, f)[truth.ids[:, f]] for f in (0, 1))
    assert 0 < (user & item).sum() < item.sum() < len(truth)
    second = rank_all_items(scorer, (train,), truth.select(user & item))
    warm = groups_of(rank_all_items(scorer, (train,), truth), train, truth)[WARM]
    np.testing.assert_array_equal(warm.evaluation.users, second.users)
    assert warm.evaluation.left_out == second.left_out
    assert warm.interactions == (user & item).sum()
    assert warm.evaluation.per_user.keys() == accuracy(second)
    for name, found in warm.evaluation.per_user.items():
        np.testing.assert_allclose(found, second.per_user[name], err_msg=name)
        assert warm.evaluation.metrics[name] == pytest.approx(second.metrics[name])


@pytest.mark.parametrize("seed", range(4))
def test_user_groups_are_disjoint_and_together_the_whole(seed: int) -> None:
    train, truth = random_parts(seed)
    scorer = Table(np.random.default_rng(seed).normal(size=(70, 90)).astype(np.float32))
    found = rank_all_items(scorer, (train,), truth)
    groups = groups_of(found, train, truth)
    parts = [groups[name] for name in (COLD_USER, *history_names())]
    users = np.concatenate([part.evaluation.users for part in parts])
    assert sorted(users) == found.users.tolist()
    assert sum(part.interactions for part in parts) == len(truth)
    for name in accuracy(found):
        total = sum(p.evaluation.metrics[name] * len(p.evaluation.users) for p in parts)
        assert total / len(users) == pytest.approx(found.metrics[name])


def test_rating_groups_by_hand_and_together_the_whole() -> None:
    train = interactions([(0, 0), (0, 1), (1, 1)], (3, 4), [1, 4, 5])
    truth = interactions([(0, 2), (1, 0), (1, 3), (2, 0), (2, 2)], (3, 4), [4, 2, 5, 1, 3])
    values = np.full((3, 4), 3.0)
    values[1, 0], values[2, 0] = 4.0, 3.0
    found = rating_errors(Table(values), train, truth)
    groups = groups_of(found, train, truth)
    # Errors: user 0: -1 (cold item); user 1: 2, and -2 (cold item); user 2, cold: 2 and 0.
    told = {n: (g.interactions, g.evaluation.users.tolist()) for n, g in groups.items()}
    assert told == {COLD_USER: (2, [2]), COLD_ITEM: (2, [0, 1]), WARM: (1, [1])}
    rmse = {n: g.evaluation.metrics["rmse"] for n, g in groups.items()}
    assert rmse == pytest.approx({COLD_USER: 2**0.5, COLD_ITEM: 2.5**0.5, WARM: 2.0})
    mae = {n: g.evaluation.metrics["mae"] for n, g in groups.items()}
    assert mae == pytest.approx({COLD_USER: 1.0, COLD_ITEM: 1.5, WARM: 2.0})
    deviation = np.std([1, 4, 5])
    assert groups[WARM].evaluation.metrics["rmse_std"] == pytest.approx(2 / deviation)
    square = sum(g.evaluation.metrics["rmse"] ** 2 * g.interactions for g in groups.values())
    assert found.metrics["rmse"] == pytest.approx((square / len(truth)) ** 0.5)


def test_groups_can_be_compared_like_the_whole() -> None:
    train, truth = random_parts(0)
    draws = np.random.default_rng(3)
    made = [Table(draws.normal(size=(70, 90)).astype(np.float32)) for _ in range(2)]
    ours, other = (
        groups_of(rank_all_items(table, (train,), truth), train, truth) for table in made
    )
    result = compare(ours[WARM].evaluation, other[WARM].evaluation, "ndcg@10", seed=0)
    assert result.low <= result.difference <= result.high
    with pytest.raises(DataError, match="same users"):
        compare(ours[WARM].evaluation, other[COLD_USER].evaluation, "ndcg@10", seed=0)


def test_shares_of_cold_users_and_items() -> None:
    train = interactions([(0, 0), (1, 1)], (3, 3))
    truth = interactions([(0, 1), (0, 2), (2, 0), (2, 2)], (3, 3))
    assert cold_shares(train, truth) == {
        "interactions": 4, "cold_user": 0.5, "cold_item": 0.5, "warm": 0.25,
    }  # fmt: skip
