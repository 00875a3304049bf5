"""Which features tell how diverse and calibrated lists are, and that tests measure it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sif.data.features import Features
from sif.data.interactions import Interactions, Split, Vocabulary
from sif.evaluation.beyond import (
    beyond_by_features,
    calibration,
    category_shares,
    diversity,
    jaccard_similarity,
)
from sif.evaluation.evaluate import evaluate
from tests.doubles import Table

ITEMS = Vocabulary(np.array(["a", "b", "c", "d"]))
FILMS = pd.DataFrame(
    {"color": ["red", "blue", "red"], "genres": ["Drama|War", "War", "Comedy"]}
)  # fmt: skip
KINDS = {"color": "category", "genres": "tags"}
TAGS = np.array([[0, 1, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0]])  # Comedy, Drama, War of a, b, c, d
LISTS = np.array([[0, 1, 2], [2, 3, 1], [0, 1, -1]])
HAD = sparse.csr_array(np.array([[0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 1]]))


def test_tags_come_before_categories() -> None:
    features = Features.of(FILMS, ["a", "b", "c"], KINDS)
    found = beyond_by_features(LISTS, HAD, features, ITEMS, [2, 3])
    for k in (2, 3):
        expected = diversity(LISTS[:, :k], jaccard_similarity(TAGS))
        np.testing.assert_allclose(found[f"diversity@{k}"], expected)
        expected = calibration(LISTS[:, :k], HAD, category_shares(TAGS))
        np.testing.assert_allclose(found[f"calibration@{k}"], expected)
    assert found["diversity@3"][0] == pytest.approx((0.5 + 1 + 1) / 3)


def test_without_labels_numbers_tell_of_diversity_alone() -> None:
    years = Features.of(pd.DataFrame({"year": [1990.0, 1991.0, 2020.5]}), ["a", "b", "c"],
                        {"year": "number"})  # fmt: skip
    found = beyond_by_features(LISTS, HAD, years, ITEMS, [3])
    assert found.keys() == {"diversity@3"}


def test_a_test_measures_it_where_the_data_have_features() -> None:
    users = Vocabulary(np.array(["u", "v"]))
    ids = np.array([[0, 0], [0, 1], [1, 2], [1, 3], [0, 2], [1, 0]])
    features = Features.of(FILMS, ["a", "b", "c"], KINDS)
    rows = Interactions(ids, ("user", "item"), (users, ITEMS))
    part = np.array([0, 0, 0, 1, 2, 2], dtype=np.int8)
    scores = Table(np.array([[0, 0, 1, 2], [3, 4, 0, 0]], dtype=np.float32))
    with_, without = (
        Split(replace(rows, item_features=one), part, "file", 0, "") for one in (features, None)
    )
    found = evaluate(scores, with_, "test", "ranking", [2])
    lists, had = np.array([[3, 2], [1, 0]]), sparse.csr_array([[1, 1, 0, 0], [0, 0, 1, 1]])
    expected = beyond_by_features(lists, had, features, ITEMS, [2])
    for name, values in expected.items():
        np.testing.assert_allclose(found.per_user[name], values)
        assert found.metrics[name] == pytest.approx(values.mean())
    plain = evaluate(scores, without, "test", "ranking", [2])
    assert found.metrics.keys() - plain.metrics.keys() == expected.keys()
    valid = evaluate(scores, with_, "valid", "ranking", [2])
    assert valid.metrics.keys() == plain.metrics.keys()
