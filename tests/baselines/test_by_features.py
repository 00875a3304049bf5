"""Baselines of new items and users by hand, on few of both."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from sif.baselines.by_features import FEATURE_BASELINES
from sif.data.interactions import Interactions, Vocabulary, read_frame
from sif.evaluation.new_ids import evaluate_new, new_ids, rows_of_new
from sif.spaces.linear.features import FeatureRows

# Three users, items 0 to 4; nobody has 3 and 4. Features: x of 0, 1 and 3; y of 2 and 4.
PAIRS = [(0, 0), (0, 1), (1, 0), (2, 2)]
ROWS = np.array([[1, 0], [1, 0], [0, 1], [1, 0], [0, 1]], dtype=np.float32)
USERS = np.arange(3)


def train() -> Interactions:
    rows = read_frame(pd.DataFrame(PAIRS, columns=["user", "item"]))
    fields = (Vocabulary(np.arange(3)), Vocabulary(np.arange(5)))
    return Interactions(rows.ids, rows.fields, fields)


@pytest.fixture
def features() -> FeatureRows:
    return FeatureRows(sp.csr_matrix(ROWS), ((0, 2),))


def scores(name: str, features: FeatureRows, **params: float) -> np.ndarray:
    return FEATURE_BASELINES[name].fit(train(), features, 1, params, 0, 1).scores(USERS)


def test_popularity_is_that_of_the_items_with_the_features(features: FeatureRows) -> None:
    found = scores("category-popularity", features)
    assert found[0].tolist() == [1.5, 1.5, 1, 1.5, 1]  # x: 2 and 1 rows; y: one
    assert (found == found[0]).all()


def test_neighbors_are_the_items_with_the_same_features(features: FeatureRows) -> None:
    both = scores("feature-knn", features, idf=1.0, k=5)
    assert both[:, 3].tolist() == pytest.approx([2, 1, 0])  # cosines of 1 with items 0 and 1
    assert both[:, 4].tolist() == pytest.approx([0, 0, 1])
    assert scores("feature-knn", features, idf=1.0, k=1)[0, 3] == pytest.approx(1)


def test_factors_go_by_features_alone_where_there_is_nothing_else(features: FeatureRows) -> None:
    params = {"dimension": 4, "l2": 0.1, "alpha": 10.0, "epochs": 20, "weight": 20.0}
    found = scores("feature-als", features, **params)
    assert found[0, 3] > found[0, 4]
    assert found[2, 4] > found[2, 3]


def test_new_items_are_ranked_among_themselves_for_known_users(features: FeatureRows) -> None:
    truth = Interactions(np.array([[0, 3], [2, 4], [2, 0]]), train().fields, train().vocabularies)
    known = train()
    assert new_ids(known, truth, 1).tolist() == [False, False, False, True, True]
    assert rows_of_new(known, truth, 1).ids.tolist() == [[0, 3], [2, 4]]
    scorer = FEATURE_BASELINES["feature-knn"].fit(known, features, 1, {"idf": 1.0, "k": 5}, 0, 1)
    found = evaluate_new(scorer, known, truth, 1, (1,))
    assert found.metrics["recall@1"] == 1
    worse = FEATURE_BASELINES["category-popularity"].fit(known, features, 1, {}, 0, 1)
    assert evaluate_new(worse, known, truth, 1, (1,)).metrics["recall@1"] == 0.5


# Users 0 to 4, of whom 3 and 4 are new: x of 0, 1 and 3; y of 2 and 4.
TAKEN = [(0, 0), (0, 1), (1, 0), (2, 2)]


def of_users() -> Interactions:
    rows = read_frame(pd.DataFrame(TAKEN, columns=["user", "item"]))
    return Interactions(rows.ids, rows.fields, (Vocabulary(np.arange(5)), Vocabulary(np.arange(4))))


def scores_of_users(name: str, features: FeatureRows, **params: float) -> np.ndarray:
    scorer = FEATURE_BASELINES[name].fit(of_users(), features, 0, params, 0, 1)
    return scorer.scores(np.arange(5))


def test_new_users_get_what_is_popular_among_those_with_their_features(
    features: FeatureRows,
) -> None:
    found = scores_of_users("category-popularity", features)
    assert found[3].tolist() == [1, 0.5, 0, 0]
    assert found[4].tolist() == [0, 0, 1, 0]


def test_new_users_get_what_their_neighbors_have(features: FeatureRows) -> None:
    found = scores_of_users("feature-knn", features, idf=1.0, k=5)
    assert found[3].tolist() == pytest.approx([2, 1, 0, 0])
    assert found[4].tolist() == pytest.approx([0, 0, 1, 0])


def test_factors_of_new_users_go_by_features(features: FeatureRows) -> None:
    params = {"dimension": 2, "l2": 0.1, "alpha": 10.0, "epochs": 20, "weight": 20.0}
    found = scores_of_users("feature-als", features, **params)
    assert found[3, 0] > found[3, 2] and found[4, 2] > found[4, 0]


def test_new_users_are_ranked_known_items(features: FeatureRows) -> None:
    known = of_users()
    truth = Interactions(
        np.array([[3, 0], [4, 2], [4, 3], [0, 2]]), known.fields, known.vocabularies
    )
    assert new_ids(known, truth, 0).tolist() == [False, False, False, True, True]
    assert rows_of_new(known, truth, 0).ids.tolist() == [[3, 0], [4, 2]]  # nobody knows item 3
    scorer = FEATURE_BASELINES["category-popularity"].fit(known, features, 0, {}, 0, 1)
    found = evaluate_new(scorer, known, truth, 0, (1,))
    assert found.users.tolist() == [3, 4] and found.metrics["recall@1"] == 1
