"""Data for which a family of closed forms is right, and what the search finds in them."""

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
        yield importlib.import_module("planted_families")
    sys.modules.pop("planted_families", None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["item-item", "filter", "spectrum"])
def test_the_search_finds_the_planted_family(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Slow: whole searches on thousands of users; by fewer, families are not told apart."""
    monkeypatch.setattr(script, "FRESH", 1)  # the oracle is not asked
    users, *_ = script.data(kind, 200)
    assert script.searched(users, 200).name in script.KINDS[kind].right


def test_complements_follow_their_mains(script: ModuleType) -> None:
    taken = script.complements(np.random.default_rng(0), 4000, mains=30, others=20, most=1)
    chances = taken.mean(axis=0)
    together = taken[:, :30].T.astype(float) @ taken[:, 30:] / 4000
    lift = together / np.outer(chances[:30], chances[30:])
    best = np.sort(lift, axis=0)
    # One main each, without which the item is not drawn, but for users with hardly any items.
    assert (best[-1] > 2 * best[-2]).all()
    assert (taken.sum(axis=1) >= script.FEWEST).all()


def test_users_have_tastes_of_some_rank(script: ModuleType) -> None:
    taken = script.tastes(
        np.random.default_rng(0), 3000, 80, factors=3, noise=0.1, popularity=0.0, length=20
    )
    values = np.linalg.svd(taken - taken.mean(axis=0), compute_uv=False)
    assert values[2] > 1.5 * values[3]
    counts = taken.sum(axis=1)
    assert counts.min() == 10 and counts.max() == 30


def test_parts_are_apart_and_users_are_alike(script: ModuleType) -> None:
    parts = script.data("filter", 200)
    share = script.KINDS["filter"].share
    for part in parts:
        assert not (part.histories & part.wanted).any()
        held = part.wanted.sum(axis=1)
        both = part.histories.sum(axis=1) + held
        assert (held == np.maximum(1, (share * both).astype(int))).all()
    assert abs(parts[0].histories.mean() / parts[2].histories.mean() - 1) < 0.05


@pytest.mark.parametrize(
    ("found", "ahead", "told"),
    [("filter", 3.0, "found"), ("chebyshev", 0.6, "found"), ("spectrum", 3.0, "missed"),
     ("filter", 0.5, "tied"), ("spectrum", -2.0, "tied")],
)  # fmt: skip
def test_a_tie_is_no_success(script: ModuleType, found: str, ahead: float, told: str) -> None:
    assert script.verdict(found, ("filter", "chebyshev"), ahead) == told


def test_the_oracle_ranks_families_by_fresh_users(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "FRESH", 50)
    rng = np.random.default_rng(1)
    taken = script.tastes(rng, 150, 20, factors=2, length=8)
    wanted = script.taken_best(np.where(taken, rng.random(taken.shape), -1.0), np.full(150, 2))
    users = [script.Users((taken & ~wanted)[s], wanted[s]) for s in np.split(np.arange(150), 3)]
    oracle = script.Oracle(*users)
    assert set(oracle.merits) == {"filter", "chebyshev", "spectrum", "item-item"}
    assert all(len(merit) == 50 for merit in oracle.merits.values())
    right = ("filter", "chebyshev", "spectrum")
    difference = oracle.merits[oracle.best(right)] - oracle.merits["item-item"]
    expected = difference.mean() / difference.std() * 50**0.5
    assert oracle.ahead(right) == pytest.approx(expected)
    assert oracle.ahead(("item-item",)) <= -expected + 1e-9  # the best of three, or a better one
