"""Steck's greedy choice against a loop over one user's candidates."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sif.errors import ConfigError
from sif.recommender.reranking import Calibrated
from sif.recommender.reranking.calibrated import calibrated_places


def divergence(wanted: np.ndarray, listed: list[np.ndarray], alpha: float) -> float:
    listed = [mass for mass in listed if mass.any()]
    found = np.mean(listed, axis=0) if listed else np.zeros(len(wanted))
    return sum(
        p * math.log(p / ((1 - alpha) * q + alpha * p))
        for p, q in zip(wanted, found, strict=True) if p
    )  # fmt: skip


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.8, 1.0])
def test_a_loop_chooses_the_same(strength: float) -> None:
    rng = np.random.default_rng(int(100 * strength))
    relevance = -np.sort(-rng.random((8, 10)), axis=1)
    mass = rng.random((8, 10, 4)) * (rng.random((8, 10, 4)) < 0.5)
    mass /= np.maximum(mass.sum(axis=2, keepdims=True), 1e-12)
    wanted = rng.dirichlet(np.ones(4), 8) * (np.arange(8) > 0)[:, None]
    there = np.arange(10) < rng.integers(4, 11, 8)[:, None]
    found = calibrated_places(relevance, mass, wanted, there, 5, strength, 0.01)
    for row in range(8):
        chosen: list[int] = []
        for _ in range(min(5, there[row].sum())):
            values = {
                c: (1 - strength) * relevance[row, c]
                - strength * divergence(wanted[row], [mass[row, i] for i in [*chosen, c]], 0.01)
                for c in range(10)
                if there[row, c] and c not in chosen
            }
            best = max(values.values())
            chosen.append(min(c for c, value in values.items() if value >= best - 1e-12))
        assert found[row, : len(chosen)].tolist() == chosen
        assert (found[row, len(chosen) :] == -1).all()


def test_a_history_without_categories_changes_nothing() -> None:
    mass = np.array([[[1.0, 0], [0, 1.0], [1.0, 0]]])
    found = calibrated_places(np.array([[1.0, 0.5, 0.0]]), mass, np.zeros((1, 2)),
                              np.ones((1, 3), np.bool_), 3, 0.9, 0.01)  # fmt: skip
    assert found.tolist() == [[0, 1, 2]]


def test_numbers_are_in_range() -> None:
    with pytest.raises(ConfigError, match="Calibrated: strength: expected a number from 0 to 1"):
        Calibrated({}, strength=2)
    with pytest.raises(ConfigError, match="Calibrated: alpha: expected a number from 1e-09 to 1"):
        Calibrated({}, alpha=0.0)
