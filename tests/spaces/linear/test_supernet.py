"""The search space of item-item models: its penalty, and scales that become one."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from sif.core.gates import Gates, Selection
from sif.core.selections import Selections
from sif.data.interactions import Interactions, PlantedScale, make_split, planted_order
from sif.problems.order import L2
from sif.problems.order_sample import OrderSample
from sif.spaces.linear.design import MIDDLE, LinearDesign, linear_design
from sif.spaces.linear.sequences import Decay
from sif.spaces.linear.supernet import UNSOLVED, Judged, OrderContext, OrderSpace


@pytest.fixture(scope="module")
def sample() -> OrderSample:
    scales = (PlantedScale(0.4, 4), PlantedScale(0.9, 30, 4.0))
    made: Interactions = planted_order(300, 60, scales=scales, length=24, successors=2, seed=0)
    dataset = SimpleNamespace(name="planted", interactions=made, official_parts=None, notes=[])
    split = make_split(dataset, "last-item", 0)
    return OrderSample.of(split.train, split.valid, 0)


def space_of(sample: OrderSample, first: float) -> OrderSpace:
    return OrderSpace(OrderContext(sample.train, first, first, sample.error, L2))


def gates_of(space: OrderSpace, **choices: str) -> Gates:
    numbers = dict(Selections(space.blocks).numbered(0))
    for block in space.blocks:
        if block.name in choices:
            numbers[block.name] = (block.operations.index(choices[block.name]),)
    return Selection(numbers).to_gates(space.blocks)


def test_the_penalty_suits_the_selection_that_is_judged(sample: OrderSample) -> None:
    for first in (L2[0], L2[-1]):
        space = space_of(sample, first)
        gates = gates_of(space, target="next", recent="0.3", middle="0.9", long="none")
        space.replacement_scores(sample.batch, sample.batch, gates)
        found = L2.index(float(space.l2))
        design = linear_design(space.genotype(gates))
        errors = [sample.judged(design, l2) for l2 in L2]
        around = errors[max(found - 1, 0) : found + 2]
        assert errors[found] == pytest.approx(min(around), rel=1e-9)
        # It is part of the state, or a resumed search would go on under another one.
        assert float(space.state_dict()["l2"]) == float(space.l2)


def test_a_space_without_a_choice_of_penalties_keeps_its_own(sample: OrderSample) -> None:
    space = OrderSpace(OrderContext(sample.train, 7.0, 7.0, sample.error))
    gates = gates_of(space, target="next")
    space.replacement_scores(sample.batch, sample.batch, gates)
    assert float(space.l2) == 7.0


class Told(OrderSpace):
    """Errors by the number of scales and the middle one's gamma, as a test says."""

    best = 0.9

    def error(self, batch: Judged, design: LinearDesign) -> float:
        """Three scales of which none may go or move, and two that are better."""
        middle = design.decays[-1 if len(design.decays) < 3 else 1] if design.decays else None
        if middle is None:
            return 2.0
        if len(design.decays) == 2 and middle.gamma == 0.95:
            return self.best
        return 1.0 if [d.gamma for d in design.decays] == [0.3, 0.8, 0.97] else 1.1


@pytest.mark.parametrize("best", [0.9, 1.0])
def test_two_scales_that_hold_each_other_become_one(sample: OrderSample, best: float) -> None:
    space = Told(OrderContext(sample.train, 50.0, 50.0, sample.error))
    space.best = best
    gates = gates_of(space, target="next", recent="0.3", middle="0.8", long="0.97")
    scores = space.replacement_scores(sample.batch, sample.batch, gates)
    below = {name: score.nonzero().tolist() for name, score in scores.items() if score.min() < 0}
    if best == 1.0:  # no better than three
        assert not below and space.at_rest
        return
    names = {block.name: block.operations for block in space.blocks}
    assert below == {
        MIDDLE: [[0, names[MIDDLE].index("0.95")]],
        "long": [[0, names["long"].index("none")]],
    }
    assert float(scores["long"].min()) == pytest.approx(math.log(best)) and not space.at_rest


def test_a_penalty_that_cannot_be_solved_for_is_no_choice(sample: OrderSample) -> None:
    context = OrderContext(sample.train, 1e-30, 1e-30, sample.error)
    design = LinearDesign((Decay(0.8, 16), Decay(0.8, 16)))
    assert OrderSpace(context).error(sample.batch, design) >= UNSOLVED
    worn = OrderSpace(replace(context, l2=100.0))
    assert worn.error(sample.batch, design) < UNSOLVED
    torch.testing.assert_close(float(worn.l2), 100.0)
