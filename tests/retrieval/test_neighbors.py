"""Neighbors against brute force, and how much of them is held at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sif.errors import ShapeError
from sif.retrieval import kernels
from sif.retrieval.neighbors import Neighbors

N, DIMENSION = 90, 5


@pytest.fixture(params=["compiled", "broadcast"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "broadcast":
        monkeypatch.setattr("sif.retrieval.engine.selection", lambda: None)
    elif kernels.compiled() is None:
        pytest.skip("needs numba")


def table() -> torch.Tensor:
    vectors = torch.randn(N, DIMENSION, generator=torch.Generator().manual_seed(0))
    vectors[7] = 0.0
    return vectors


@pytest.mark.parametrize("itself", [True, False])
@pytest.mark.parametrize("k", [1, 5, 100])
@pytest.mark.usefixtures("path")
def test_neighbors_are_those_of_brute_force(itself: bool, k: int) -> None:
    vectors = table().numpy().astype(np.float64)
    allowed, untrained = np.arange(N) % 5 != 0, np.isin(np.arange(N), [3, 33])
    rows = np.array([0, 7, 33, 89, 12])
    found = Neighbors(table(), untrained, memory=1).top(rows, k, itself, allowed)
    assert found.items.shape == found.scores.shape == (5, k)
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
    cosines = (vectors / lengths[:, None]) @ (vectors / lengths[:, None]).T
    may = allowed & ~untrained & (np.arange(N) != 7)
    for row, items, scores in zip(rows, found.items, found.scores, strict=True):
        left = may & (itself | (np.arange(N) != row))
        if row in (7, 33):
            left[:] = False
        order = np.argsort(-np.where(left, cosines[row], -np.inf), kind="stable")[:k]
        order = order[left[order]]
        assert items[: len(order)].tolist() == order.tolist()
        assert (items[len(order) :] == -1).all() and np.isneginf(scores[len(order) :]).all()
        np.testing.assert_allclose(scores[: len(order)], cosines[row][order], atol=1e-6)


def test_cosines_are_held_by_the_memory_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sif.retrieval.engine.selection", lambda: None)
    made: list[int] = []
    empty = torch.empty

    def watched(*size: int, **options: object) -> torch.Tensor:
        made.append(int(np.prod(size)) * 4)
        return empty(*size, **options)

    monkeypatch.setattr("sif.retrieval.engine.torch.empty", watched)
    near = Neighbors(torch.randn(3000, 4), memory=1 << 16)
    near.top(np.arange(3000), 10)
    assert made and max(made) <= 1 << 16


def test_rows_that_are_not_there_are_refused() -> None:
    near = Neighbors(table())
    assert near.top(np.zeros(0, np.int64), 3).items.shape == (0, 3)
    for row in (-1, N):
        with pytest.raises(ShapeError, match=f"expected rows from 0 to {N - 1}, found {row}"):
            near.top(np.array([row]), 3)
