"""ASAP: what is pruned when, and that what is pruned costs nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sif.core.gates import Block, Gates, Probing
from sif.core.method import Plan
from sif.core.probe import gate_gradient
from sif.core.space import Space
from sif.methods.asap import Asap, AsapSettings, annealed, pruned
from sif.search.run import MethodRun
from tests.doubles import PlantedSpace
from tests.methods.test_contract import RUNS

F64 = torch.float64
BLOCKS = (Block("a", ("w", "x", "y", "z"), nodes=(0, 0), edges_per_node=1),)
COSTS = torch.tensor([[3.0, 1.0, 2.0, 4.0], [3.0, 2.0, 3.0, 2.5]], dtype=F64)
"""Loss of each operation of `BLOCKS`; the best is x on the first edge."""


def asap(steps: int, **settings: Any) -> Asap:
    space = PlantedSpace(BLOCKS, lambda gates: (gates["a"] * COSTS).sum())
    given = AsapSettings(**settings)
    return Asap(space, given, Plan(steps), torch.Generator().manual_seed(0))


def test_operations_are_pruned_in_the_order_worked_out_by_hand() -> None:
    alpha = {"a": torch.tensor([[math.log(8), math.log(4), math.log(2), 0.0]], dtype=F64)}
    kept = {"a": torch.ones(1, 4, dtype=torch.bool)}
    # At temperature 1 the shares are 8, 4, 2, 1 of 15, and .4 of uniform is 1.5 of 15: z goes.
    kept = pruned(alpha, kept, 1.0, 0.4)
    assert kept["a"].tolist() == [[True, True, True, False]]
    # Then 8, 4, 2 of 14, where .4 of uniform is 1.87 of 14: nothing goes.
    kept = pruned(alpha, kept, 1.0, 0.4)
    assert kept["a"].tolist() == [[True, True, True, False]]
    # At 1/2 they are 64, 16, 4 of 84, where it is 11.2 of 84: y goes.
    kept = pruned(alpha, kept, 0.5, 0.4)
    assert kept["a"].tolist() == [[True, True, False, False]]
    # 64 and 16 of 80 are exactly .8 and .2, which is the threshold for two; a bit colder, x goes.
    kept = pruned(alpha, kept, 0.45, 0.4)
    assert kept["a"].tolist() == [[True, False, False, False]]
    assert annealed(alpha, kept, 0.45)["a"].tolist() == [[1.0, 0.0, 0.0, 0.0]]
    assert pruned(alpha, kept, 1e-3, 1.0)["a"].tolist() == kept["a"].tolist()


def test_temperatures_fall_by_a_constant_factor_and_pruning_waits_for_grace() -> None:
    method = asap(101, first_temperature=4.0, last_temperature=0.25, arch_lr=2.0)
    space = PlantedSpace(BLOCKS, lambda gates: (gates["a"] * COSTS).sum())
    for step, expected in ((0, 4.0), (25, 2.0), (50, 1.0), (100, 0.25), (120, 0.25)):
        method.weight_gates(step)
        assert method.temperature() == pytest.approx(expected)
    method.weight_gates(49)
    for _ in range(5):
        method.arch_step(space, None, None)
    assert all(bool(kept.all()) for kept in method.kept.values())
    method.weight_gates(50)
    method.arch_step(space, None, None)
    assert not any(bool(kept.all()) for kept in method.kept.values())


def test_a_search_ends_at_the_best_operation_of_each_edge_and_never_takes_one_back() -> None:
    method, space = asap(60, arch_lr=0.05), PlantedSpace(BLOCKS, lambda g: (g["a"] * COSTS).sum())
    left, alphas = [], []
    for step in range(60):
        method.arch_step(space, None, None)
        method.weight_gates(step)
        left.append(method.kept["a"].clone())
        alphas.append(method.state_dict()["alpha"]["a"])
    assert all(bool((a | b == a).all()) for a, b in itertools.pairwise(left))
    counts = [int(table.sum()) for table in left]
    assert counts[0] == 8 and counts[-1] == 2 and len(set(counts)) > 3
    assert left[-1].int().argmax(1).tolist() == [1, 1]
    # The worst of the first edge goes before the second best, and its alpha rests from then on.
    gone = [next(t for t, table in enumerate(left) if not table[0, k]) for k in (3, 2)]
    assert gone[0] < gone[1]
    assert torch.equal(alphas[gone[0]][0, 3], alphas[-1][0, 3])
    assert method.best_gates().choices()["a"] in ((1, -1), (-1, 1))
    assert method.weight_gates(60).weights["a"].tolist() == [[0, 1, 0, 0], [0, 1, 0, 0]]


def some(space: Space) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A mixture, and which of its candidates are kept: a few, with a whole edge pruned."""
    draws = torch.Generator().manual_seed(0)
    weights, factors = {}, {}
    for block in space.blocks:
        kept = torch.rand(block.shape, generator=draws) < 0.5
        kept[:, 0] |= ~kept.any(dim=1)
        if len(block.nodes) > 3:
            kept[1] = False
        table = torch.rand(block.shape, generator=draws, dtype=F64).masked_fill(~kept, 0.0)
        weights[block.name], factors[block.name] = table, kept.double()
    return weights, factors


@pytest.mark.parametrize("name", RUNS)
def test_what_is_pruned_changes_no_number_and_runs_no_more(name: str) -> None:
    run = RUNS[name]()
    space, (train, _) = run.make_space(True), run.streams()
    weights, factors = some(space)
    batch = train.next()
    alone, all_of_them = Gates(weights, None, Probing(factors)), Gates(weights, None)
    parameters = list(space.weight_parameters())
    found, expected = (gate_gradient(space, batch, g, parameters) for g in (alone, all_of_them))
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(found.weights, expected.weights, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    for block, kept in factors.items():
        torch.testing.assert_close(
            found.gates[block], expected.gates[block] * kept.to(found.gates[block]),
            rtol=1e-3, atol=1e-5,
        )  # fmt: skip


def modules_run(run: MethodRun, gates_of: Callable[[Space], Gates]) -> int:
    """Number of modules that a mixture's loss goes through."""
    space: Any = run.make_space(True)
    count = 0

    def counts(*_: Any) -> None:
        nonlocal count
        count += 1

    for module in space.modules():
        if isinstance(module, nn.Module):
            module.register_forward_hook(counts)
    space.loss(run.streams()[0].next(), gates_of(space))
    return count


def test_a_step_costs_less_once_operations_are_pruned() -> None:
    run = RUNS["cnn"]()

    def gates(space: Space) -> Gates:
        weights, factors = some(space)
        return Gates(weights, None, Probing(factors))

    whole = modules_run(run, lambda space: Gates(some(space)[0], None))
    assert modules_run(run, gates) < 0.7 * whole
