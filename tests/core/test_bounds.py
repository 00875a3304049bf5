"""Costs of selections, and the projection within bounds against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sif.core.bounds import CostBound, CostTable, least_cost, normalized, project_within
from sif.core.bounds import refuse_impossible as refuse
from sif.core.gates import Block, Selection
from sif.core.proximal import project
from sif.core.selections import Selections
from sif.errors import ConfigError

CELL = Block("cell", ("a", "b", "c"), (0, 0, 1, 1, 1), 2)
FUNCTION = Block("function", ("a", "b", "c", "d"))
SPACES = [(CELL,), (FUNCTION,), (CELL, FUNCTION)]


def costs_of(*costs: float) -> list[dict[str, float]]:
    return [dict(zip("abcd", costs, strict=True))]


def table_of(blocks: tuple[Block, ...], rng: np.random.Generator, fixed: float = 0.0) -> CostTable:
    costs = {
        block.name: [
            {name: float(rng.integers(0, 20)) for name in block.operations} for _ in block.nodes
        ]
        for block in blocks
    }
    return CostTable("latency", "ms", fixed, costs)


def gain(selection: Selection, alpha: dict[str, torch.Tensor]) -> float:
    return sum(
        float(alpha[name][e, k]) for name in alpha for e, k in enumerate(selection[name]) if k >= 0
    )


def every(blocks: tuple[Block, ...]) -> list[Selection]:
    selections = Selections(blocks)
    return [selections.numbered(n) for n in range(selections.count)]


@pytest.mark.parametrize("blocks", SPACES)
@pytest.mark.parametrize("seed", range(4))
def test_the_projection_within_bounds_is_the_nearest_that_keeps_them(
    blocks: tuple[Block, ...], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    tables = [table_of(blocks, rng, 3.0), table_of(blocks, rng)]
    alpha = {b.name: torch.tensor(rng.normal(size=b.shape)) for b in blocks}
    everything = every(blocks)
    some = everything[len(everything) // 3]
    bounds = [CostBound(table, table.of(some, blocks)) for table in tables]
    able = [s for s in everything if all(b.keeps(s, blocks) for b in bounds)]
    best = max(gain(s, alpha) for s in able)
    before = {name: table.clone() for name, table in alpha.items()}
    gates = project_within(alpha, blocks, bounds)
    gates.check(blocks)
    assert all(b.keeps(gates.choices(), blocks) for b in bounds)
    assert gain(gates.choices(), alpha) == pytest.approx(best, abs=1e-9)
    assert some in able
    assert all(torch.equal(before[name], alpha[name]) for name in alpha)


def test_near_alphas_are_told_apart_within_a_bound() -> None:
    table = CostTable("latency", "ms", 0.0, {"function": [{"a": 9.0, "b": 1.0, "c": 1.0, "d": 1}]})
    alpha = {"function": torch.tensor([[0.9, 0.5, 0.5 + 1e-7, 0.5]], dtype=torch.float64)}
    gates = project_within(alpha, (FUNCTION,), [CostBound(table, 1.0)])
    assert gates.choices() == {"function": (2,)}


def test_without_a_binding_bound_it_is_the_plain_projection() -> None:
    rng = np.random.default_rng(0)
    alpha = {"cell": torch.tensor(rng.normal(size=CELL.shape))}
    wide = CostBound(table_of((CELL,), rng), 1e9)
    for bounds in ((), (wide,)):
        gates = project_within(alpha, (CELL,), bounds)
        assert gates.choices() == project(alpha, (CELL,)).choices()


def test_a_selection_at_exactly_the_bound_keeps_it() -> None:
    rng = np.random.default_rng(1)
    table = table_of((CELL,), rng, 0.1)
    least = least_cost(table, (CELL,))
    assert least == min(table.of(s, (CELL,)) for s in every((CELL,)))
    alpha = {"cell": torch.tensor(rng.normal(size=CELL.shape))}
    gates = project_within(alpha, (CELL,), [CostBound(table, least)])
    assert table.of(gates.choices(), (CELL,)) == least


def test_impossible_bounds_are_refused_with_the_least_that_is_possible() -> None:
    table = CostTable("latency", "ms", 2.0, {"function": costs_of(3, 4, 5, 6)})
    with pytest.raises(ConfigError, match=r"latency: expected a bound of at least 5 ms.*found 4.5"):
        refuse([CostBound(table, 4.5)], (FUNCTION,))
    other = CostTable("parameters", "", 0.0, {"function": costs_of(9, 8, 7, 6)})
    together = [CostBound(table, 5.0), CostBound(other, 6.0)]
    with pytest.raises(ConfigError, match="latency <= 5 ms and parameters <= 6"):
        refuse(together, (FUNCTION,))
    refuse([CostBound(table, 5.0)], (FUNCTION,))


def test_costs_of_several_objectives_are_shares() -> None:
    one = CostTable("latency", "ms", 0.0, {"function": costs_of(1, 1, 2, 0)})
    other = CostTable("parameters", "", 0.0, {"function": costs_of(0, 5, 5, 0)})
    assert normalized([one], FUNCTION) == ((1, 1, 2, 0),)
    assert normalized([one, other], FUNCTION) == ((0.25, 0.75, 1.0, 0.0),)
    assert normalized([one], CELL) is None
