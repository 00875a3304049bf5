"""The table of bytes leaves out no item that is among the best, and changes no score."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from sif.errors import ScoreError
from sif.retrieval.bounds import ByteTable
from sif.retrieval.catalogue import Catalogue
from sif.retrieval.kernels import GROUP, products
from sif.retrieval.single import SingleEngine

pytestmark = pytest.mark.skipif(products() is None, reason="needs numba")

NONE = np.zeros(0, np.bool_)


def engines(items: np.ndarray, patch: pytest.MonkeyPatch) -> tuple[SingleEngine, SingleEngine]:
    """Engines of these items (n, r), with a table of bytes and without."""
    padded = torch.nn.functional.pad(torch.from_numpy(items), (0, 0, 0, -len(items) % GROUP))
    stub = SimpleNamespace(
        n_items=len(items), n_rows=len(padded), rows=lambda start, stop: padded[start:stop],
        precision="float32",
    )  # fmt: skip
    catalogue = cast(Catalogue, stub)
    patch.setattr("sif.retrieval.single.BYTES_FROM", 1)
    patch.setattr("sif.retrieval.single.BYTES_AFTER", 1)
    bytewise, plain = SingleEngine(catalogue), SingleEngine(catalogue)
    bytewise.top(items[0], 1)
    plain._asked = 1  # too late for a table
    return bytewise, plain


def tables(rng: np.random.Generator, r: int) -> dict[str, np.ndarray]:
    """Items of several kinds."""
    n = 700
    plain = rng.standard_normal((n, r), dtype=np.float32)
    lengths = (rng.pareto(1.0, (n, 1)) + 0.01).astype(np.float32)
    twice = plain[rng.integers(0, 40, n)]
    spiked = plain * (1 + 1000 * (rng.random((n, r)) < 0.01)).astype(np.float32)
    sparse = plain * (rng.random((n, 1)) < 0.5)
    return {
        "plain": plain, "lengths": plain * lengths, "twice": twice, "spiked": spiked,
        "zeros": sparse.astype(np.float32), "small": plain * np.float32(1e-9),
    }  # fmt: skip


@pytest.mark.parametrize("r", [1, 5, 64, 130])
def test_answers_are_the_same_to_the_bit(r: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(r)
    few = 0
    for name, items in tables(rng, r).items():
        bytewise, plain = engines(items, monkeypatch)
        table = bytewise._bytes
        assert table is not None and plain._bytes is None
        for k in (1, 10, 64):
            for _ in range(5):
                user = rng.standard_normal(r).astype(np.float32) * np.float32(
                    10.0 ** rng.integers(-3, 4)
                )
                hidden = rng.choice(700, rng.integers(0, 60), replace=False)
                allowed = rng.random(700) < 0.7
                for options in ({}, {"hidden": hidden}, {"hidden": hidden, "allowed": allowed}):
                    mine, theirs = (e.top(user, k, **options) for e in (bytewise, plain))  # type: ignore[arg-type]
                    np.testing.assert_array_equal(mine[1], theirs[1], err_msg=name)
                    np.testing.assert_array_equal(mine[0], theirs[0], err_msg=name)
                closed = hidden.astype(np.int64)
                few += bytewise._of_few(table, user, k, closed, allowed) is not None
    assert few > 45, "expected that bounds answer most users"


@pytest.mark.parametrize("r", [3, 64])
def test_bounds_hold(r: int) -> None:
    rng = np.random.default_rng(r)
    for items in tables(rng, r).values():
        table = ByteTable(items)
        for _ in range(20):
            user = rng.standard_normal(r).astype(np.float32)
            bounds = table.bounds(user, NONE)
            assert bounds is not None
            exact = items.astype(np.float64) @ user.astype(np.float64)
            margins = (
                bounds.factors[0] * table._lost[:700] + bounds.factors[1] * table._lengths[:700]
            )
            assert (bounds.upper[0] >= exact).all()
            assert (bounds.upper[0] - 2 * margins <= exact).all()
        assert table.nbytes < 0.8 * items.nbytes or r == 3


def test_users_whose_bounds_do_not_hold_are_scored_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    items = np.random.default_rng(0).standard_normal((300, 8), dtype=np.float32)
    bytewise, plain = engines(items, monkeypatch)
    for scale in (0.0, 1e-30, 1e25):
        user = np.full(8, scale, np.float32)
        for mine, theirs in zip(bytewise.top(user, 5), plain.top(user, 5), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(ScoreError):
        bytewise.top(np.full(8, np.nan, np.float32), 5)
    only = np.arange(300) < 3
    assert bytewise.top(items[0], 5, allowed=only)[1][0, 3:].tolist() == [-1, -1]


def test_items_that_are_no_numbers_have_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    items: Any = np.ones((40, 4), np.float32)
    items[3, 2] = np.inf
    bytewise, _ = engines(items, monkeypatch)
    assert bytewise._bytes is None


def test_a_table_is_made_for_a_model_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    items = np.random.default_rng(0).standard_normal((300, 8), dtype=np.float32)
    _, engine = engines(items, monkeypatch)
    engine._asked = 0
    monkeypatch.setattr("sif.retrieval.single.BYTES_AFTER", 3)
    for asked in range(1, 6):
        engine.top(items[asked], 2)
        assert (engine._bytes is not None) == (asked >= 3)
