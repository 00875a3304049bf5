"""Diversity within lists against loops over pairs with scipy's distances."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial import distance

from sif.errors import DataError, ShapeError
from sif.evaluation.beyond import ItemSimilarity, cosine_similarity, diversity, jaccard_similarity

KINDS: dict[str, tuple[Callable[[Any], ItemSimilarity], Callable[..., float]]] = {
    "cosine": (cosine_similarity, distance.cosine),
    "jaccard": (jaccard_similarity, lambda a, b: distance.jaccard(a != 0, b != 0)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.csr_matrix])
def test_means_over_pairs(kind: str, form: Callable[[Any], Any]) -> None:
    make, distances = KINDS[kind]
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 3, (20, 5)) * (rng.random((20, 5)) < 0.6)
    lists = np.stack([rng.permutation(20)[:6] for _ in range(30)])
    lists[3, 4:], lists[4, 1:] = -1, -1
    empty = ~matrix.any(axis=1)
    assert empty.any()
    expected = []
    for row in lists:
        there = [i for i in row if i >= 0 and not empty[i]]
        pairs = [distances(matrix[a], matrix[b]) for a, b in combinations(there, 2)]
        expected.append(np.mean(pairs) if pairs else 0.0)
    found = diversity(lists, make(form(matrix)))
    assert found == pytest.approx(np.array(expected), abs=1e-6)
    assert found[4] == 0.0


@pytest.mark.parametrize("make", [cosine_similarity, jaccard_similarity])
def test_few_of_many_features_are_as_all(
    make: Callable[[Any], ItemSimilarity], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    matrix = sparse.csr_array(rng.integers(1, 3, (12, 700)) * (rng.random((12, 700)) < 0.05))
    lists = np.stack([rng.permutation(12)[:5] for _ in range(7)])
    lists[2, 3:] = -1
    wide = list(make(matrix).within(lists))
    monkeypatch.setattr("sif.evaluation.beyond.similarity._CHUNK_ELEMENTS", 2000)
    pieces = list(make(matrix).within(lists))
    assert len(pieces) > 1
    dense = np.concatenate([found for _, found in make(matrix.toarray()).within(lists)])
    for found in (wide, pieces):
        np.testing.assert_allclose(np.concatenate([x for _, x in found]), dense, atol=1e-6)


def test_many_lists_are_measured_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    similarity = cosine_similarity(np.random.default_rng(1).normal(size=(9, 4)))
    lists = np.stack([np.random.default_rng(n).permutation(9)[:3] for n in range(11)])
    whole = diversity(lists, similarity)
    monkeypatch.setattr("sif.evaluation.beyond.similarity._CHUNK_ELEMENTS", 25)
    assert diversity(lists, similarity) == pytest.approx(whole)
    assert len(list(similarity.within(lists))) == 6


@pytest.mark.parametrize(("matrix", "error"), [
    ([1.0, 2.0], ShapeError), ([["a"]], ShapeError), ([[np.nan]], DataError),
    (sparse.csr_array([[np.inf]]), DataError),
])  # fmt: skip
def test_features_are_finite_numbers(matrix: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="features: expected"):
        cosine_similarity(matrix)
