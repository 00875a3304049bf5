"""The fused window against the plain loop and its autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sif.spaces.rnn.cells import ACTIVATIONS, PUBLISHED, RecurrentCell
from sif.spaces.rnn.dropout import Masks, TextShape
from sif.spaces.rnn.fused import SLOPES
from sif.spaces.rnn.networks import CellLoop, CellRecurrence

F64 = torch.float64
SHAPE = TextShape(vocabulary=11, hidden=6)
CHAIN = RecurrentCell((("relu", 0), ("identity", 1), ("sigmoid", 1), ("tanh", 0)), (0, 2, 3))
"""States that several nodes read, outputs that none reads, and a node of no use."""
CELLS = {**PUBLISHED, "chain": CHAIN, "smallest": RecurrentCell((("tanh", 0),), (1,))}


def far_from_zero(cell: RecurrentCell) -> CellRecurrence:
    torch.manual_seed(0)
    recurrence = CellRecurrence(SHAPE, cell).double()
    with torch.no_grad():
        for parameter in recurrence.parameters():
            parameter.mul_(15)
    return recurrence


def gradients(made: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    upstream = torch.randn(made.shape, dtype=F64, generator=torch.Generator().manual_seed(3))
    return list(torch.autograd.grad((made * upstream).sum(), leaves))


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_outputs_and_every_gradient_are_those_of_the_plain_loop(name: str, dropped: bool) -> None:
    recurrence = far_from_zero(CELLS[name])
    x = torch.randn(9, 4, 6, dtype=F64, requires_grad=True)
    hidden = torch.randn(4, 6, dtype=F64, requires_grad=True)
    mask = (torch.rand(4, 6) > 0.3).to(F64) / 0.7 if dropped else None
    leaves = [x, hidden, *recurrence.parameters()]
    made, state = recurrence(x, hidden, Masks(hidden=mask))
    plain = CellLoop(recurrence.weights, recurrence.cell, mask).unroll(x, hidden)
    torch.testing.assert_close(made, plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, plain[-1], rtol=1e-12, atol=1e-12)
    found, expected = gradients(made, leaves), gradients(plain, leaves)
    assert sum(float(gradient.abs().max()) < 1e-3 for gradient in expected) == (name == "chain")
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_a_loss_of_the_state_behind_the_window_reaches_all_steps() -> None:
    recurrence = far_from_zero(CHAIN)
    x = torch.randn(5, 2, 6, dtype=F64, requires_grad=True)
    (found,) = torch.autograd.grad(recurrence(x, None, Masks())[1].pow(2).sum(), [x])
    zeros = torch.zeros(2, 6, dtype=F64)
    plain = CellLoop(recurrence.weights, CHAIN).unroll(x, zeros)[-1]
    (expected,) = torch.autograd.grad(plain.pow(2).sum(), [x])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_a_second_derivative_is_refused() -> None:
    recurrence = far_from_zero(CHAIN)
    x = torch.randn(3, 2, 6, dtype=F64, requires_grad=True)
    made = recurrence(x, None, Masks())[0].pow(3).sum()
    (first,) = torch.autograd.grad(made, [x], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_are_derivatives_of_activations(name: str) -> None:
    x = torch.linspace(-2, 2, 10, dtype=F64, requires_grad=True)
    value = ACTIVATIONS[name](x)
    (expected,) = torch.autograd.grad(value.sum(), [x])
    torch.testing.assert_close(SLOPES[name](value.detach()), expected)
