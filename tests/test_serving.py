"""Answers of the recommender where something is untrained, not a number, or large."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sif.recommender import SIFRecommender

Board = Callable[..., pd.DataFrame]
USERS, ITEMS = 30, 16
QUICK = {
    "train.epochs": 30, "train.patience": 30, "train.dimension": 8, "train.l2": "[0.003]",
    "search.epochs": 2, "search.dimension": 4, "train.lr": 0.05,
}  # fmt: skip


def fitted(checkerboard: Board, objective: str) -> SIFRecommender:
    """The train part lacks the item "rare" and the user "late"."""
    frame = checkerboard(USERS, ITEMS, objective == "rating", rare=True)
    held = frame.item.eq("rare") | frame.user.eq("late")
    model = SIFRecommender(objective, threads=1, settings=QUICK)
    return model.fit(frame[~held], valid=frame[held])


@pytest.fixture(scope="module")
def saved(checkerboard: Board, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ("ranking", "rating")}
    for name, folder in folders.items():
        fitted(checkerboard, name).save(folder)
    return folders


@pytest.fixture
def liked(saved: dict[str, Path]) -> SIFRecommender:
    return SIFRecommender.load(saved["ranking"])


@pytest.fixture
def rated(saved: dict[str, Path]) -> SIFRecommender:
    return SIFRecommender.load(saved["rating"])


def popular(model: SIFRecommender, count: int = 4) -> list[str]:
    return list(model.recommend_new([], N=count)[0])


# Users of whom nothing trained tells


def test_a_history_of_untrained_items_gets_the_popular(liked: SIFRecommender) -> None:
    items, scores = liked.recommend_new(["rare"], N=4)
    assert items.tolist() == popular(liked)
    np.testing.assert_array_equal(scores, liked.recommend_new([], N=4)[1])
    row = liked.history_row(["rare"], None)
    np.testing.assert_array_equal(
        liked.server().scores_of(row), liked.server().scores_of(liked.history_row([], None))
    )
    assert liked.recommend_new(["rare", "i1", "i3"], N=4)[0].tolist() != popular(liked)


def test_users_folded_in_with_untrained_items_get_the_popular(liked: SIFRecommender) -> None:
    expected = popular(liked)
    liked.fold_in(pd.DataFrame({"user": ["new"], "item": ["rare"]}))
    assert liked.recommend("new", N=4)[0].tolist() == expected
    liked.partial_fit(pd.DataFrame({"user": ["guest"], "item": ["fresh"]}))
    assert liked.recommend("guest", N=4)[0].tolist() == expected
    # Whom only the untrained know is as untrained as they are.
    assert "fresh" not in liked.recommend("u1", N=ITEMS + 2, filter_already_liked=False)[0]
    liked.partial_fit(pd.DataFrame({"user": ["late", "guest"], "item": ["other", "other"]}))
    assert "other" not in liked.recommend("u1", N=ITEMS + 3, filter_already_liked=False)[0]
    liked.fold_in(pd.DataFrame({"user": ["guest"] * 3, "item": ["i1", "i3", "i5"]}))
    assert liked.recommend("guest", N=4)[0].tolist() != expected


# Neighbours


def test_the_untrained_are_nobodys_neighbours(liked: SIFRecommender, rated: SIFRecommender) -> None:
    for model in (liked, rated):
        items, cosines = model.similar_items("i4", N=ITEMS + 1)
        assert "rare" not in items and len(items) == ITEMS - 1 and cosines[-1] < 0
        assert len(model.similar_items("rare")[0]) == len(model.similar_users("late")[0]) == 0
        users, cosines = model.similar_users(["u3", "late"], N=5)
        assert (users[1] == "").all() and np.isneginf(cosines[1]).all()
        assert users.shape == (2, 5) and (users[0] != "").all()


def test_tables_of_neighbours_are_padded_to_what_was_asked(liked: SIFRecommender) -> None:
    items, cosines = liked.similar_items(["i4", "i5"], N=50)
    assert items.shape == cosines.shape == (2, 50)
    assert (items[:, ITEMS - 1 :] == "").all() and np.isneginf(cosines[:, ITEMS - 1 :]).all()
    assert len(liked.similar_items("i4", N=50)[0]) == ITEMS - 1
