"""Baselines of new items by hand, on few users and items."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from sif.baselines.by_features import FEATURE_BASELINES
from sif.data.interactions import Interactions, Vocabulary, read_frame
from sif.evaluation.new_items import evaluate_new, new_items, rows_of_new
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
    return FEATURE_BASELINES[name].fit(train(), features, params, 0, 1).scores(USERS)


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
    assert new_items(known, truth).tolist() == [False, False, False, True, True]
    assert rows_of_new(known, truth).ids.tolist() == [[0, 3], [2, 4]]
    scorer = FEATURE_BASELINES["feature-knn"].fit(known, features, {"idf": 1.0, "k": 5}, 0, 1)
    found = evaluate_new(scorer, known, truth, (1,))
    assert found.metrics["recall@1"] == 1
    worse = FEATURE_BASELINES["category-popularity"].fit(known, features, {}, 0, 1)
    assert evaluate_new(worse, known, truth, (1,)).metrics["recall@1"] == 0.5
