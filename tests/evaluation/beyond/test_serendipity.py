"""Serendipity against the examples of RecTools and a loop over its definition."""

from __future__ import annotations

import numpy as np
import pytest

from sif.errors import ShapeError
from sif.evaluation.beyond import Popularity, serendipity


def test_the_examples_of_rectools() -> None:
    # The docstring of rectools.metrics.Serendipity, version 0.19: items i1 to i4, four users.
    popularity = Popularity(np.array([3, 2, 0, 0]), n_users=3)
    lists = np.array([[0, 1], [1, 2], [2, -1], [1, 2]])
    hits = np.array([[True, True], [True, True], [False, False], [True, False]])
    first = serendipity(lists[:, :1], hits[:, :1], popularity)
    assert first.tolist() == [0.0, 0.25, 0.0, 0.25]
    assert serendipity(lists, hits, popularity).tolist() == [0.0, 0.5, 0.0, 0.125]


def test_a_loop_over_the_definition() -> None:
    rng = np.random.default_rng(5)
    counts = rng.integers(0, 6, 15)
    lists = np.stack([rng.permutation(15)[:4] for _ in range(10)])
    hits = rng.random((10, 4)) < 0.5
    ranks = {count: rank for rank, count in enumerate(sorted(set(counts) - {0}, reverse=True), 1)}
    expected = []
    for row, hit in zip(lists, hits, strict=True):
        gains = [
            max((16 - r) / 15 - ((16 - ranks[counts[i]]) / 15 if counts[i] else 0.0), 0.0) * h
            for r, (i, h) in enumerate(zip(row, hit, strict=True), 1)
        ]
        expected.append(sum(gains) / 4)
    assert serendipity(lists, hits, Popularity(counts, 9)) == pytest.approx(np.array(expected))


def test_hits_are_of_the_lists() -> None:
    with pytest.raises(ShapeError, match=r"hits: expected bool \(1, 2\), as the lists, found"):
        serendipity([[0, 1]], [[True]], Popularity(np.array([1, 1]), 1))
