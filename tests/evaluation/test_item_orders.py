"""Orders of items by popularity, recent popularity and first items, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sif.baselines import BASELINES
from sif.data.interactions.interactions import Interactions
from sif.data.interactions.vocabulary import Vocabulary
from sif.errors import DataError
from sif.evaluation.item_orders import (
    HALF_LIVES,
    POPULARITY_ORDER,
    FirstItems,
    ItemOrder,
    RecentPopularity,
)

# (user, item, time); items 0 to 4 of which 4 has no row.
ROWS = [
    (0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 1, 8), (1, 1, 8), (2, 2, 12), (0, 3, 16), (1, 2, -0),
]  # fmt: skip


def interactions(rows: list[tuple[int, int, int]], timed: bool = True) -> Interactions:
    ids, times = np.array(rows, dtype=np.int64)[:, :2], np.array([time for *_, time in rows])
    vocabularies = (Vocabulary(range(3)), Vocabulary(range(5)))
    return Interactions(ids, ("user", "item"), vocabularies, None, times if timed else None)


def ranked(order: ItemOrder, train: Interactions) -> list[int]:
    scores = order.scores(train)
    assert sorted(scores.tolist()) == [-4, -3, -2, -1, 0]
    return np.argsort(-scores).tolist()


@pytest.mark.parametrize("shift", [0, -10_000])
def test_popularity_halves_with_age(shift: int) -> None:
    train = interactions([(user, item, time + shift) for user, item, time in ROWS])
    # A half-life of a quarter of 16 is 4, so that ages 16, 8, 4, 0 weigh 1/16, 1/4, 1/2, 1.
    np.testing.assert_allclose(
        train.recency(1 / 4), [1 / 16, 1 / 16, 1 / 16, 1 / 4, 1 / 4, 1 / 2, 1, 1 / 16]
    )
    # 0: 3/16, 1: 1/2, 2: 9/16, 3: 1.
    assert ranked(RecentPopularity(1 / 4), train) == [3, 2, 1, 0, 4]
    # A half-life of four times the time: 16/4 = 1/4 of a halving at most; counts decide, but for 1
    # (2 * 2^-.125 = 1.83) and 2 (2^-.25 + 2^-.0625 = 1.80), equals by popularity.
    assert ranked(RecentPopularity(4.0), train) == [0, 1, 2, 3, 4]
    assert ranked(POPULARITY_ORDER, train) == [0, 1, 2, 3, 4]


def test_first_items_are_counted_by_user() -> None:
    # The first rows by time: user 0 takes 0, 1, 3; user 1 takes 0, 2, 1; user 2 takes 0, 2.
    train = interactions(ROWS[::-1])
    assert ranked(FirstItems(1), train)[0] in (0, 2)  # rows of one moment: as they stand
    train = interactions(ROWS)
    assert ranked(FirstItems(1), train) == [0, 1, 2, 3, 4]  # 3 users of 0; 1, 2 by popularity
    assert ranked(FirstItems(2), train) == [0, 2, 1, 3, 4]  # 3, then 2 of 2 and 1 of 1
    assert ranked(FirstItems(10), train) == ranked(POPULARITY_ORDER, train)


def test_rows_in_order_have_an_age_as_well() -> None:
    train = interactions(ROWS, timed=False)
    for order in (RecentPopularity(1 / 4), FirstItems(2)):
        with pytest.raises(DataError, match="expected timestamps, or rows in order"):
            order.scores(train)
    placed = Interactions(
        train.ids, train.fields, train.vocabularies, None, None, np.arange(8) * 3
    )  # fmt: skip
    np.testing.assert_allclose(placed.recency(1 / 7), 0.5 ** np.arange(7, -1, -1))
    assert ranked(RecentPopularity(1 / 7), placed)[:2] == [2, 3]


def test_a_single_moment_or_no_row_is_popularity() -> None:
    train = interactions([(user, item, 5) for user, item, _ in ROWS])
    for share in HALF_LIVES:
        assert ranked(RecentPopularity(share), train) == ranked(POPULARITY_ORDER, train)
    nothing = train.select(np.zeros(0, dtype=np.int64))
    assert ranked(RecentPopularity(1 / 4), nothing) == [0, 1, 2, 3, 4]


def test_the_baseline_ranks_by_the_same_order() -> None:
    train = interactions(ROWS)
    fitted = BASELINES["recent-popularity"].fit(train, {"half_life": 1 / 4}, 0, 1)
    np.testing.assert_array_equal(
        fitted.scores(np.arange(3)), np.tile(RecentPopularity(1 / 4).scores(train), (3, 1))
    )  # fmt: skip


def test_names_tell_the_numbers() -> None:
    assert POPULARITY_ORDER.name == "popularity"
    assert RecentPopularity(1 / 64).name.endswith("half-life of 1/64 of the train part's time")
    assert FirstItems(10).name == "popularity among the first 10 items of each user"
