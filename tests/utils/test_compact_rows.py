"""Rounded rows: how far they are from what they were, and that nobody else changes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sif.utils.compact_rows import CompactRows, Precision

STEPS = {"int8": 0.5 / 127, "float16": 2.0**-12}
"""Most that rounding takes, over the largest number of a row."""


@pytest.mark.parametrize("precision", ["int8", "float16"])
@given(seed=st.integers(0, 999), exponent=st.integers(-30, 30))
def test_rows_differ_by_half_a_step_at_most(precision: Precision, seed: int, exponent: int) -> None:
    table = torch.randn(9, 5, generator=torch.Generator().manual_seed(seed)) * 10.0**exponent
    table[3] = 0.0
    rows = CompactRows.of(table, precision)
    most = table.abs().amax(dim=1, keepdim=True)
    assert ((rows.whole() - table).abs() <= 1.001 * STEPS[precision] * most).all()
    assert rows.nbytes == 9 * (4 + 5 * (1 if precision == "int8" else 2))
    at = torch.tensor([[4, 0], [3, 3]])
    assert torch.equal(rows.taken(at), rows.whole()[at])
    assert torch.equal(rows.rows(2, 6), rows.whole()[2:6])


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_rounding_again_changes_nothing_more(precision: Precision) -> None:
    once = CompactRows.of(torch.randn(50, 8), precision)
    assert torch.equal(CompactRows.of(once.whole(), precision).codes, once.codes)


def test_rows_are_put_without_touching_others() -> None:
    before = CompactRows.of(torch.arange(6.0).reshape(3, 2), "int8")
    after = before.put(torch.tensor([1, 4]), 5, torch.tensor([[1.0, -1.0], [0.0, 2.0]]))
    assert after.whole()[[0, 2]].tolist() == before.whole()[[0, 2]].tolist()
    assert after.whole()[[1, 3, 4]].tolist() == [[1.0, -1.0], [0.0, 0.0], [0.0, 2.0]]
    assert len(before) == 3


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        CompactRows.of(torch.tensor([[1.0, torch.nan]]), "int8")
