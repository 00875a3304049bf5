"""Maximal marginal relevance against a loop over one user's candidates."""

from __future__ import annotations

import numpy as np
import pytest

from sif.errors import ConfigError
from sif.recommender.reranking import Mmr
from sif.recommender.reranking.mmr import mmr_places


def naive(relevance: np.ndarray, alike: np.ndarray, there: np.ndarray, k: int,
          strength: float) -> list[int]:  # fmt: skip
    chosen: list[int] = []
    while len(chosen) < k:
        best, best_value = -1, -np.inf
        for c in range(len(there)):
            if not there[c] or c in chosen:
                continue
            near = max((float(alike[c, s]) for s in chosen), default=0.0)
            value = (1 - strength) * relevance[c] - strength * near
            if value > best_value:  # of equal ones the first stays
                best, best_value = c, value
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("strength", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_a_loop_chooses_the_same(strength: float, levels: int) -> None:
    rng = np.random.default_rng(int(strength * 100) + levels)
    relevance = -np.sort(-rng.integers(0, levels, (12, 9)) / levels, axis=1)
    alike = (rng.integers(-levels, levels, (12, 9, 9)) / levels).astype(np.float32)
    alike = (alike + alike.transpose(0, 2, 1)) / 2
    there = np.arange(9) < rng.integers(0, 10, 12)[:, None]
    found = mmr_places(relevance, alike, there, 6, strength)
    for row in range(12):
        expected = naive(relevance[row], alike[row], there[row], 6, strength)
        assert found[row].tolist() == expected


def test_more_places_than_candidates() -> None:
    found = mmr_places(np.array([[1.0, 0.0]]), np.zeros((1, 2, 2), np.float32),
                       np.array([[True, True]]), 4, 0.5)  # fmt: skip
    assert found.tolist() == [[0, 1, -1, -1]]


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), "much", True])
def test_the_strength_is_from_0_to_1(strength: float) -> None:
    with pytest.raises(ConfigError, match="Mmr: strength: expected a number from 0 to 1, found"):
        Mmr(strength)
