"""Data for which a loss is right, and what the search finds in them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("planted_losses")
    for name in ("planted_losses", "planted_families"):
        sys.modules.pop(name, None)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "epochs"), [("softmax", 120), ("whole-data", 250)])
def test_the_search_leaves_the_other_loss(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, kind: str, epochs: int
) -> None:
    """Slow: each of six losses is trained before it is judged, squares for all 250 epochs.

    After 120 the search on sums has not left the softmax losses yet.
    """
    monkeypatch.setattr(script, "DRAWS", 0)  # the oracle is not asked
    monkeypatch.setattr(script, "SETTINGS", (*script.SETTINGS, f"search.epochs={epochs}"))
    users, _ = script.data(kind, 200)
    problem = script.problem_of(kind, users, 200)
    assert problem.loss_name not in script.KINDS[kind].right
    assert script.searched(problem) in script.KINDS[kind].right


def test_chances_are_products_or_sums(script: ModuleType) -> None:
    products = script.multiplied(np.random.default_rng(0), users=40, items=30, factors=3)
    sums = script.added(np.random.default_rng(0), users=40, items=30, groups=5, liked=2)
    for chances in (products, sums):
        assert chances.shape == (40, 30) and (chances > 0).all()
        np.testing.assert_allclose(chances.sum(axis=1), 1)
    # Logarithms of products have the rank of the factors and one more, of the sums over items.
    assert np.linalg.matrix_rank(np.log(products), tol=1e-6) == 4
    assert np.linalg.matrix_rank(sums, tol=1e-9) <= 6 < np.linalg.matrix_rank(np.log(sums), 1e-6)


def test_nobody_draws_what_he_has(script: ModuleType) -> None:
    rng = np.random.default_rng(0)
    chances, taken = rng.random((50, 20)), rng.random((50, 20)) < 0.5
    counts = rng.integers(1, 4, 50)
    found = script.drawn(chances, taken, counts, rng)
    assert not (found & taken).any() and (found.sum(axis=1) == counts).all()


def test_items_are_drawn_by_their_chances(script: ModuleType) -> None:
    chances = np.tile([0.6, 0.3, 0.1], (20_000, 1))
    nothing = np.zeros(chances.shape, dtype=bool)
    one = np.ones(len(chances), dtype=np.int64)
    found = script.drawn(chances, nothing, one, np.random.default_rng(0))
    np.testing.assert_allclose(found.mean(axis=0), [0.6, 0.3, 0.1], atol=0.01)
