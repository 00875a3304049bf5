"""BayesNAS: updates in closed form, the Hessian, and what is pruned first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from sif.core.gates import Block, Gates
from sif.core.method import Plan
from sif.methods.bayesnas import LEAST, NOT_PRUNED, BayesNAS, BayesNASSettings, mixed, updated
from tests.doubles import PlantedSpace

F64 = torch.float64
FIVE = (Block("mix", ("a", "b", "c", "d", "e")),)
CELL = (Block("cell", ("a", "b", "c"), nodes=(0, 0, 1, 1, 1), edges_per_node=2),)


def planted(weights: tuple[float, ...]) -> PlantedSpace:
    """The mean square of sum_k (weight_k - gate_k) x_k over drawn features x."""
    draws = torch.Generator().manual_seed(0)
    features = torch.randn(200, 5, generator=draws, dtype=F64)
    target = features @ torch.tensor(weights, dtype=F64)

    def loss(gates: Mapping[str, Tensor]) -> Tensor:
        return (target - features @ gates["mix"][0]).square().mean()

    return PlantedSpace(FIVE, loss)


def bayesnas(space: PlantedSpace, steps: int, **settings: Any) -> BayesNAS:
    given = BayesNASSettings(**settings)
    return BayesNAS(space, given, Plan(steps), torch.Generator().manual_seed(0))


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


def test_one_update_is_that_worked_out_by_hand() -> None:
    gamma, omega = updated(numbers(0.6), numbers(1.0), numbers(2.0), 0.5)
    # h / lambda = 4: C = 1 / (1 + 4), omega^2 = 1 - C = .8, gamma = .6 / sqrt(.8).
    assert omega.item() == pytest.approx(math.sqrt(0.8))
    assert gamma.item() == pytest.approx(0.6 / math.sqrt(0.8))
    again, omega = updated(numbers(0.6), gamma, numbers(2.0), 0.5)
    posterior = 1 / (1 / gamma + 4)
    assert omega.item() == pytest.approx((1 / gamma - posterior / gamma**2).sqrt().item())
    assert again.item() == pytest.approx((0.6 / omega).item())


@pytest.mark.parametrize(("optimum", "known"), [(1.0, 0.75), (0.8, 0.39), (0.3, 0.0)])
def test_updates_converge_to_the_known_relevance_of_a_quadratic_loss(
    optimum: float, known: float
) -> None:
    """Loss h / 2 (w - a)^2: a is a draw of variance gamma + lambda / h, so gamma is a^2 - that."""
    hessian, sparsity, gamma = numbers(2.0), 0.5, numbers(1.0)
    assert known == pytest.approx(max(0.0, optimum**2 - sparsity / 2.0))
    switch = numbers(1.0)
    for _ in range(500):
        gamma, omega = updated(switch, gamma, hessian, sparsity)
        switch = (numbers(optimum) - sparsity * omega / hessian).clamp(min=0.0)
    assert gamma.item() == pytest.approx(known, abs=1e-4)


def test_a_loss_that_ignores_a_switch_gives_it_no_relevance() -> None:
    gamma, omega = updated(numbers(1.0, 0.0), numbers(1.0, 0.0), numbers(0.0, 0.0), 0.01)
    assert gamma.tolist() == [pytest.approx(math.sqrt(2)), 0.0]
    assert omega.tolist() == [pytest.approx(math.sqrt(0.5)), 1.0]


def test_the_hessian_is_that_of_autograd_in_the_mean() -> None:
    space = planted((0.7, 0.0, 0.3, 0.0, 0.0))
    method = bayesnas(space, 10, hessian_draws=250)
    with torch.no_grad():
        method.switches["mix"].copy_(torch.tensor([[0.9, 0.2, 0.5, 0.7, 0.1, 1.0]], dtype=F64))

    def loss(table: Tensor) -> Tensor:
        return space.loss_of({"mix": (table / table.sum())[None]})

    exact = torch.autograd.functional.hessian(loss, method.switches["mix"][0, :5]).diagonal()
    found = method.hessian(space, None)["mix"][0]
    torch.testing.assert_close(found[:5], exact, rtol=0.2, atol=0.1)
    assert found[5] == 0  # the only edge of a node has no switch that moves


def test_only_ratios_of_switches_count_and_edges_that_stay_have_none() -> None:
    switches = torch.tensor([[1.0, 3.0, 2.0, 1.0], [2.0, 2.0, 9.0, 1.0], [1.0, 1.0, 2.0, 0.5],
                             [1.0, 1.0, 1.0, 1.0], [4.0, 0.0, 0.0, 0.25]], dtype=F64)  # fmt: skip
    kept = torch.ones(5, 3, dtype=torch.bool)
    kept[1, 2] = False
    # Node 0: products sum to 6 + 4, their mean per edge is 5. Node 1: 2 + 3 + 1, which is 2.
    expected = torch.tensor([[1, 3, 2], [2, 2, 0], [0.5, 0.5, 1], [1, 1, 1], [1, 0, 0]], dtype=F64)
    expected[:2] /= 5
    expected[2:] /= 2
    torch.testing.assert_close(mixed(switches, kept, CELL[0]), expected)
    torch.testing.assert_close(mixed(7 * switches, kept, CELL[0]), expected)
    method = bayesnas(PlantedSpace(CELL, lambda gates: gates["cell"].square().sum()), 10)
    method.arch_step(method_space(), None, None)
    assert method.switches["cell"][:2, 3].tolist() == [1.0, 1.0]
    assert method.switches["cell"][2:, 3].tolist() != [1.0, 1.0, 1.0]


def method_space() -> PlantedSpace:
    """A space that wants the last edge of `CELL`."""
    return PlantedSpace(CELL, lambda gates: -gates["cell"][4].sum())


def test_switches_descend_on_the_loss_and_the_lasso() -> None:
    space = planted((0.7, 0.0, 0.3, 0.0, 0.0))
    method = bayesnas(space, 100, updates=1, momentum=0.0, sparsity=0.2, arch_lr=0.05)
    start = method.switches["mix"].clone().requires_grad_()
    gates = start[:, :5] / start[:, :5].sum()
    loss = space.loss_of({"mix": gates}) + 0.2 * start[:, :5].sum()
    (grad,) = torch.autograd.grad(loss, start)
    report = method.arch_step(space, None, None)
    expected = (start.detach() - 0.05 * grad).clamp(min=LEAST)
    torch.testing.assert_close(method.switches["mix"], expected)
    assert report.loss == pytest.approx(float(loss.detach()) - 0.2 * 5)
    assert method.switches["mix"][0, 5] == 1.0


def test_switches_at_the_least_still_learn() -> None:
    space = planted((0.7, 0.0, 0.3, 0.0, 0.0))
    method = bayesnas(space, 100, updates=1)
    method.switches["mix"][:, :5] = LEAST
    for _ in range(50):
        method.arch_step(space, None, None)
    assert method.weight_gates(0).weights["mix"][0, 0] > 0.5


def test_candidates_are_pruned_in_the_order_of_their_variances() -> None:
    space = PlantedSpace(CELL, lambda gates: gates["cell"].sum())
    method = bayesnas(space, 10)
    assert pytest.approx(0.5 * math.log(2 * math.pi * math.e * NOT_PRUNED), abs=1e-12) == 0
    with torch.no_grad():
        method.switches["cell"].copy_(torch.tensor([
            [1.0, 0.5, 0.01, 1.0], [0.01, 0.02, 0.03, 1.0],
            [1.0, 1.0, 1.0, 0.02], [0.5, 0.1, 0.02, 1.0], [1.0, 0.01, 0.4, 1.0],
        ], dtype=F64))  # fmt: skip
    method.gamma["cell"].fill_(1.0)
    hessian = {"cell": torch.full((5, 4), 0.01, dtype=F64)}
    method.update(hessian)
    # h / lambda = 1, so omega = sqrt(1/2), and each gamma is sqrt(2) of its switch. An edge of
    # .02 takes all its operations with it; node 0 needs the best of edge 1, however weak. Its
    # edges stay, so they have no variance of their own.
    one, weak = math.sqrt(2), 0.02 * math.sqrt(2)
    variances = method.variances()["cell"]
    assert variances[0, 0].item() == pytest.approx(one)
    assert variances[4, 0].item() == pytest.approx(one / 2)
    assert variances[2].tolist() == [pytest.approx(1 / (1 / one + 1 / weak))] * 3
    assert method.kept["cell"].tolist() == [
        [True, True, False], [False, False, True],
        [False, False, False], [True, True, False], [True, False, True],
    ]  # fmt: skip
    assert method.best_gates().choices()["cell"] == (0, 2, -1, 0, 0)
    assert method.weight_gates(0).weights["cell"][2].tolist() == [0.0, 0.0, 0.0]
    assert method.alpha()["cell"][2].tolist() == [0.0, 0.0, 0.0]


def test_irrelevant_operations_of_a_planted_mixture_are_pruned_first() -> None:
    space = planted((0.7, 0.0, 0.3, 0.0, 0.0))
    method, left = bayesnas(space, 200, arch_lr=0.02), []
    for _ in range(200):
        method.arch_step(space, None, None)
        left.append(method.kept["mix"][0].tolist())
    gone = [next((t for t, kept in enumerate(left) if not kept[k]), 999) for k in range(5)]
    assert max(gone[k] for k in (1, 3, 4)) < min(gone[0], gone[2])
    assert dict(method.best_gates().choices()) == {"mix": (0,)}
    variances = method.variances()["mix"][0]
    assert variances[0] > variances[2] > variances[[1, 3, 4]].max()
    for before, after in itertools.pairwise(left):
        assert all(a or not b for a, b in zip(before, after, strict=True))  # pruned for good


def test_updates_are_spread_over_the_steps_of_the_switches() -> None:
    space, taken = planted((0.7, 0.0, 0.3, 0.0, 0.0)), []
    given = BayesNASSettings(updates=3)
    method = BayesNAS(space, given, Plan(10, resting=1), torch.Generator().manual_seed(0))
    method.update = lambda hessian: taken.append(method._taken)  # type: ignore[method-assign]
    for _ in range(9):
        method.arch_step(space, None, None)
    assert taken == [3, 6, 9]
    gates = method.weight_gates(0)
    assert isinstance(gates, Gates) and gates.active is None
    assert BayesNASSettings().resting_steps(0, 100, 7) == 7
