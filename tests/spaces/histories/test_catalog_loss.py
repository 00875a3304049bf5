"""The loss over a catalog against plain formulas, and that of drawn items in the mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sif.spaces.histories import catalog_loss
from sif.spaces.histories.catalog_loss import (
    CatalogLoss,
    LossName,
    catalog_cross_entropy,
    catalog_squared_error,
    sampled_cross_entropy,
)
from sif.spaces.histories.scoring import Scoring
from sif.spaces.interaction.negatives import Drawn
from sif.spaces.interaction.operations import OPERATIONS

F64 = torch.float64
ITEMS, HIDDEN, PLACES = 7, 3, 20


def numbers(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States, targets, table and bias, far from zero."""
    draws = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draws, dtype=F64).requires_grad_()

    targets = torch.randint(ITEMS, (PLACES,), generator=draws)
    return normal(PLACES, HIDDEN), targets, normal(ITEMS, HIDDEN), normal(ITEMS)


@pytest.mark.parametrize("block", [1, ITEMS * 6, 1 << 19])
def test_the_loss_in_blocks_and_its_gradient_are_those_of_cross_entropy(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(catalog_loss, "BLOCK_VALUES", block)
    states, targets, table, bias = numbers()
    plain = F.cross_entropy(F.linear(states, table, bias), targets)
    found = catalog_cross_entropy(states, targets, table, bias)
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=0)
    leaves = (states, table, bias)
    expected = torch.autograd.grad(3 * plain, leaves)
    for ours, theirs in zip(torch.autograd.grad(3 * found, leaves), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)
    with torch.no_grad():
        torch.testing.assert_close(catalog_cross_entropy(states, targets, table, bias), plain)


def test_large_scores_stay_numbers() -> None:
    states, targets, table, bias = numbers()
    found = catalog_cross_entropy(1e4 * states, targets, table, bias)
    assert torch.isfinite(found)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(found, (states, table, bias)))


def sums(drawn: Tensor, chances: Tensor) -> Tensor:
    """Sum of exponentials that a loss of drawn items stands for, of the first place."""
    states, targets, table, bias = (x[:1] if len(x) == PLACES else x for x in numbers())
    often = (len(drawn) * chances[drawn]).log()
    loss = sampled_cross_entropy(states, targets, table, bias, drawn, often)
    own = (states[0] @ table[targets[0]] + bias[targets[0]]).detach()
    return (loss.detach() + own).exp()


@pytest.mark.parametrize("k", [1, 2])
def test_the_sum_of_drawn_exponentials_is_right_in_the_mean(k: int) -> None:
    # Every draw of k items, by its chance.
    chances = torch.arange(1, ITEMS + 1, dtype=F64)
    chances = chances / chances.sum()
    states, _, table, bias = numbers()
    expected = F.linear(states[0], table, bias).exp().sum()
    draws = torch.cartesian_prod(*[torch.arange(ITEMS)] * k).reshape(-1, k)
    mean = sum(chances[drawn].prod() * sums(drawn, chances) for drawn in draws)
    torch.testing.assert_close(mean, expected.detach(), rtol=1e-12, atol=0)


def test_many_drawn_items_give_the_loss_and_gradient_of_the_whole_catalog() -> None:
    states, targets, table, bias = numbers()
    counts = np.array([0, 50, 3, 9, 1, 100, 2])
    whole = CatalogLoss.of(counts, samples=60_000)
    drawn = CatalogLoss.of(counts, samples=60_000, exact=ITEMS - 1)
    assert (whole.samples, drawn.samples) == (None, 60_000)
    ours, theirs = (loss(states, targets, table, bias, seed=3) for loss in (drawn, whole))
    torch.testing.assert_close(ours, theirs, rtol=0.01, atol=0)
    leaves = (states, table, bias)
    for one, other in zip(
        torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.01)


def test_a_target_among_the_drawn_items_counts_once() -> None:
    states, targets, table, bias = numbers()
    same = targets[:1].repeat(4)
    found = sampled_cross_entropy(
        states[:1], targets[:1], table, bias, same, torch.zeros(4, dtype=F64)
    )
    assert found.item() == 0  # nothing is left to tell it from
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(found, (states, table, bias)))


@pytest.mark.parametrize("name", ["softmax", "squared"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_has_the_loss_of_its_pairs(operation: str, name: LossName) -> None:
    width = HIDDEN * OPERATIONS[operation].width(2)
    readout = torch.linspace(-1, 2, width, dtype=F64).requires_grad_()
    states, targets, table, bias = numbers()
    leaves = (states, table, bias, readout)
    by = CatalogLoss.of(np.ones(ITEMS, np.int64), samples=8 * ITEMS, name=name)
    scoring = Scoring(OPERATIONS[operation], readout)
    found = by(states, targets, table, bias, seed=1, scoring=scoring)
    expected = plain(operation, name, *leaves)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    ours, theirs = (torch.autograd.grad(loss, leaves, materialize_grads=True, allow_unused=True)
                    for loss in (found, expected))  # fmt: skip
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def plain(
    operation: str, name: LossName, states: Tensor, table: Tensor, bias: Tensor, readout: Tensor
) -> Tensor:
    """The loss by the scores of all pairs."""
    targets = numbers()[1]
    combined = OPERATIONS[operation].combine([states[:, None], table[None]])
    scores = combined @ readout + bias
    if name == "softmax":
        return F.cross_entropy(scores, targets)
    return (scores - F.one_hot(targets, ITEMS)).square().sum(1).mean()


def test_the_squared_error_of_drawn_items_is_right_in_the_mean() -> None:
    chances = torch.arange(1, ITEMS + 1, dtype=F64)
    chances = chances / chances.sum()
    states, targets, table, bias = (x[:1] if len(x) == PLACES else x for x in numbers())
    scores = F.linear(states, table, bias)
    own = scores.gather(1, targets[:, None])[:, 0]
    by = CatalogLoss(chances, 2, "squared")
    expected = catalog_squared_error(states, targets, table, bias)
    mean = torch.zeros((), dtype=F64)
    for drawn in torch.cartesian_prod(*[torch.arange(ITEMS)] * 2):
        loss = by.of_scores(own, scores[:, drawn], targets, Drawn(drawn, 2 * chances[drawn]))
        mean = mean + chances[drawn].prod() * loss
    torch.testing.assert_close(mean, expected, rtol=1e-12, atol=0)
