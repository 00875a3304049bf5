"""Averages of weights: when they begin, what they are, and that a resumed training has them."""

from __future__ import annotations

import torch
from torch import nn

from sif.training.averaging import Averaged


def network(value: float = 0.0) -> nn.Linear:
    found = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        found.weight.fill_(value)
    return found


def test_it_begins_when_a_loss_is_worse_than_the_best_of_all_but_the_last_few() -> None:
    averaged = Averaged(network(), 2)
    begun = []
    for loss in (3.0, 2.0, 2.5, 2.4, 2.2, 1.0):
        averaged.judge(loss)
        begun.append(averaged.begun())
    # The fifth, 2.2, is compared with 3 and 2: all but the two before it.
    assert begun == [False, False, False, False, True, True]
    never = Averaged(network(), None)
    for loss in (1.0, 2.0, 3.0, 4.0):
        never.judge(loss)
    assert not never.begun()


def test_the_average_is_that_of_all_weights_since_it_began() -> None:
    averaged = Averaged(network(7.0), 1)
    averaged.note()
    assert averaged.evaluated().weight.tolist() == [[7.0, 7.0]]
    for loss in (1.0, 2.0, 1.5):
        averaged.judge(loss)
    assert averaged.begun()
    for value in (1.0, 2.0, 6.0):
        with torch.no_grad():
            averaged.network.weight.fill_(value)
        averaged.note()
    assert averaged.evaluated().weight.tolist() == [[4.0, 4.0]]
    assert averaged.network.weight.tolist() == [[6.0, 6.0]]


def test_a_restored_average_goes_on() -> None:
    averaged = Averaged(network(1.0), 1)
    for loss in (1.0, 2.0, 1.5):
        averaged.judge(loss)
    averaged.note()
    again = Averaged(network(9.0), 1)
    again.load_state_dict(averaged.state_dict())
    for one in (averaged, again):
        with torch.no_grad():
            one.network.weight.fill_(4.0)
        one.note()
        one.judge(3.0)
    assert torch.equal(again.evaluated().weight, averaged.evaluated().weight)
    assert again.judged.tolist() == averaged.judged.tolist() == [1.0, 2.0, 1.5, 3.0]


def test_only_the_network_itself_trains() -> None:
    averaged = Averaged(network(), 1)
    assert [p for p in averaged.parameters() if p.requires_grad] == [averaged.network.weight]
