from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sif.data.interactions import planted, planted_large
from sif.data.interactions.planted import transform
from sif.data.interactions.planted_large import _distinct, _largest


@pytest.fixture(autouse=True)
def _always_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys.modules["sif.data.interactions.planted"], "_MAX_PAIRS", 0)
    monkeypatch.setattr(planted_large, "_CHUNK_PAIRS", 1 << 12)
    monkeypatch.setattr(planted_large, "_MOMENT_PAIRS", 1 << 18)


@pytest.mark.parametrize("kind", ["ratings", "clicks"])
@pytest.mark.parametrize("density", [0.001, 0.05, 0.4, 1.0])
def test_density_coverage_and_no_pair_twice(kind: Any, density: float) -> None:
    data, _ = planted(150, 90, density=density, kind=kind)
    counts = [np.bincount(data.ids[:, f], minlength=n) for f, n in enumerate(data.sizes)]
    assert counts[0].min() >= 2
    assert counts[1].min() >= 2
    assert len({tuple(row) for row in data.ids.tolist()}) == len(data)
    assert (data.rating is None) == (kind == "clicks")
    if density == 0.05:
        assert abs(len(data) - 675) < 60
    if density == 1.0 and kind == "ratings":
        assert len(data) == 150 * 90


def test_the_signal_is_the_stated_function_standardized() -> None:
    _, info = planted(300, 200, operation="max", transforms=("~square", "-abs"), dimension=3)
    p, q = transform("~square", info["embeddings"][0]), transform("-abs", info["embeddings"][1])
    table = np.maximum(p[:, None, :], q[None, :, :]) @ info["weights"]
    pairs = np.stack(np.meshgrid(np.arange(300), np.arange(200), indexing="ij"), -1).reshape(-1, 2)
    signal = info["signal"](pairs)
    expected = (table.reshape(-1) - table.mean()) / table.std()
    # Moments of 2^18 drawn pairs: a mean within 5 / 2^9 deviations.
    np.testing.assert_allclose(signal, expected, atol=0.01 * (1 + np.abs(expected).max()))
    assert abs(signal.mean()) < 0.01
    assert abs(signal.std() - 1) < 0.01
    slope = np.polyfit(expected, signal, 1)[0]
    np.testing.assert_allclose(signal, slope * expected + signal.mean(), atol=1e-4)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_ratings_are_signal_plus_noise(noise: float) -> None:
    data, info = planted(400, 300, noise=noise, density=0.1)
    assert data.rating is not None
    rest = data.rating - info["signal"](data.ids)
    assert abs(rest.std() - noise) < 0.02
    assert len(data) == pytest.approx(12_000, rel=0.01)
    assert abs(info["signal"](data.ids).mean()) < 0.1  # pairs do not depend on the signal


def test_clicks_prefer_the_signal_and_popular_items() -> None:
    clear, info = planted(400, 300, kind="clicks", noise=0.0, density=0.05)
    assert info["signal"](clear.ids).mean() > 0.8
    blurred, info = planted(400, 300, kind="clicks", noise=3.0, density=0.05)
    assert info["signal"](blurred.ids).mean() < 0.5
    assert blurred.timestamp is not None
    assert (np.diff(blurred.timestamp) > 0).all()


@pytest.mark.parametrize("kind", ["ratings", "clicks"])
def test_the_seed_decides(kind: Any) -> None:
    def hashed(seed: int) -> str:
        return planted(60, 40, seed=seed, kind=kind)[0].content_hash

    assert hashed(1) == hashed(1) != hashed(2)


def test_how_much_is_computed_at_once_does_not_change_the_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = planted(90, 70)[0].content_hash
    monkeypatch.setattr(planted_large, "_PIECE", 7)
    assert planted(90, 70)[0].content_hash == before


def test_distinct_pairs_are_uniform() -> None:
    counts = np.zeros((5, 8))
    for seed in range(600):
        users, items = _distinct(5, 8, 0.25, np.random.default_rng(seed))
        np.add.at(counts, (users, items), 1)
    expected = counts.sum() / 40
    # The rule of two per user shifts none of the items.
    assert np.abs(counts.sum(axis=0) - 5 * expected).max() < 4.5 * math.sqrt(5 * expected)


def test_the_largest_of_every_row() -> None:
    keys = np.random.default_rng(0).normal(size=(6, 9))
    counts = np.array([2, 5, 3, 9, 2, 4])
    rows, columns = _largest(keys, counts)
    for row in range(6):
        best = set(np.argsort(-keys[row])[: counts[row]].tolist())
        assert set(columns[rows == row].tolist()) == best
