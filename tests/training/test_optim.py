"""Optimizers and schedules of the loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sif.training.optim import (
    adam,
    constant,
    cosine,
    exponential,
    momentum,
    set_rate,
    settled,
)


def test_schedules_by_hand() -> None:
    assert [constant(e, 4) for e in range(4)] == [1.0] * 4
    half = cosine(0.04)
    assert half(0, 10) == 1.0
    assert half(5, 10) == pytest.approx(0.52)
    assert half(10, 10) == pytest.approx(0.04)
    assert exponential(0.97)(3, 250) == pytest.approx(0.97**3)


def test_a_settled_rate_is_constant_and_then_falls_to_nothing_by_hand() -> None:
    rates = [settled(constant, 40, 4)(done, 6) for done in range(6)]
    assert rates == pytest.approx([1, 1, 1, 1, 0.75, 0.25])  # half a cosine at 1/3 and 2/3
    assert [settled(constant, 40, 1)(done, 2) for done in range(2)] == pytest.approx([1, 0.5])
    former = cosine(0.04)
    found = [settled(former, 8, 3)(done, 5) for done in range(5)]
    assert found[:3] == [former(done, 8) for done in range(3)]
    assert found[3:] == pytest.approx([former(3, 8) * factor for factor in (0.75, 0.25)])


def test_cosine_is_the_one_of_torch() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = momentum(0.0)([weight], 0.025)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50, eta_min=0.001)
    for epoch in range(50):
        assert 0.025 * cosine(0.04)(epoch, 50) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_what_rests_neither_moves_nor_decays() -> None:
    moving, resting = (nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = momentum(0.1)([moving, resting], 0.5)
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        moving.sum().backward()
        optimizer.step()
    first = 1 - 0.5 * (1 + 0.1)
    second = first - 0.5 * (0.9 * 1.1 + 1 + 0.1 * first)
    torch.testing.assert_close(moving.detach(), torch.full((2,), second))
    assert torch.equal(resting.detach(), torch.ones(2))


def test_the_rate_can_be_set_later() -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer = adam([weight], 1.0)
    set_rate(optimizer, 0.25)
    weight.sum().backward()
    optimizer.step()
    assert math.isclose(float(weight.detach()), 0.75, abs_tol=1e-6)
