"""The order for new users: validation chooses it, over enough of them, and nothing else does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sif.baselines.base import TableScorer
from sif.data.interactions.interactions import Interactions
from sif.data.interactions.vocabulary import Vocabulary
from sif.evaluation.cold_start import ColdStartRule, WithColdStartRule, cold_rows
from sif.evaluation.cold_start_choice import IN_ORDER, LEAST_USERS, ColdStartChoice
from sif.evaluation.evaluate import evaluate_on
from sif.evaluation.item_orders import POPULARITY_ORDER, FirstItems, Popularity, RecentPopularity

RANGES = {"popular": range(10), "late": range(20, 30), "first": range(40, 54)}


def made(taken: str, new: int) -> tuple[Interactions, Interactions]:
    """40 known users, and new ones in validation who take five items of a range.

    Each known user has 10 of the 14 first items, then the 10 popular ones; 8 have the late ones.
    """
    draws = np.random.default_rng(0)
    rows = []
    for user in range(40):
        rows += [(user, 40 + (user + n) % 14, n) for n in range(10)]
        rows += [(user, item, 100 + item) for item in RANGES["popular"]]
        rows += [(user, item, 10_000) for item in RANGES["late"] if user < 8]
    wanted = [
        (40 + user, int(item), 20_000)
        for user in range(new)
        for item in draws.permutation(RANGES[taken])[:5]
    ]
    sizes = (Vocabulary(range(100)), Vocabulary(range(60)))

    def part(table: list[tuple[int, int, int]]) -> Interactions:
        columns = np.array(table, dtype=np.int64)
        return Interactions(columns[:, :2], ("user", "item"), sizes, None, columns[:, 2])

    return part(rows), part(wanted)


@pytest.mark.parametrize(
    ("taken", "kind"),
    [("popular", Popularity), ("late", RecentPopularity), ("first", FirstItems)],
)
def test_validation_prefers_what_new_users_take(taken: str, kind: type) -> None:
    choice = ColdStartChoice.of(*made(taken, 50))
    assert isinstance(choice.order, kind)
    assert choice.users == 50 and len(choice.values) == 1 + len(IN_ORDER)
    assert choice.values[choice.order.name] == max(choice.values.values())
    assert choice.order.name in choice.told and "50 new users" in choice.told


def test_values_are_those_of_an_evaluation() -> None:
    train, valid = made("late", 40)
    valid = replace(valid, ids=np.concatenate([valid.ids, [[40, 59], [0, 59]]]),
                    timestamp=np.append(valid.timestamp, [6000, 6000]))  # fmt: skip
    choice = ColdStartChoice.of(train, valid)
    new = cold_rows(train, 0)
    only = valid.select(new[valid.ids[:, 0]])
    for order in (POPULARITY_ORDER, *IN_ORDER):
        nothing = TableScorer(np.zeros(train.sizes[:2], dtype=np.float32))
        scorer = WithColdStartRule(nothing, ColdStartRule.of(train, order))
        found = evaluate_on(scorer, train, (train,), only, "ranking")
        assert choice.values[order.name] == pytest.approx(found.metrics["ndcg@10"], abs=1e-12)


def test_few_new_users_or_no_order_choose_nothing() -> None:
    train, valid = made("late", LEAST_USERS - 1)
    few = ColdStartChoice.of(train, valid)
    assert few.order == POPULARITY_ORDER and not few.values
    assert f"valid has {LEAST_USERS - 1} new users" in few.told
    assert ColdStartChoice.of(*made("late", LEAST_USERS)).order != POPULARITY_ORDER
    train, valid = (replace(part, timestamp=None) for part in made("late", 50))
    bare = ColdStartChoice.of(train, valid)
    assert bare.order == POPULARITY_ORDER and "nothing tells the order" in bare.told
    assert bare.document() == {
        "order": "popularity", "valid_users": 50, "valid": {}, "reason": bare.reason,
    }  # fmt: skip


def test_known_users_of_validation_decide_nothing() -> None:
    train, valid = made("late", 50)
    known = np.array([(u, i) for u in range(40) for i in range(50, 60)])
    more = Interactions(
        np.concatenate([valid.ids, known]), valid.fields, valid.vocabularies, None,
        np.concatenate([valid.timestamp, np.full(len(known), 5000)]),
    )  # fmt: skip
    assert ColdStartChoice.of(train, more) == ColdStartChoice.of(train, valid)
