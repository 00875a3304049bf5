"""Proposals of methods, by brute force over small spaces and by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sif.core.gates import Block, Selection
from sif.core.method import Plan, Proposes
from sif.core.proximal import project
from sif.core.selections import Selections
from sif.methods.bayesnas import BayesNAS
from sif.methods.darts import Darts
from sif.methods.enas import Enas
from sif.methods.fixed import Fixed
from sif.methods.nasp import PATH, Nasp
from sif.methods.proposals import different, likeliest, proposed
from sif.methods.random_ws import RandomWS

BLOCKS = (
    Block("normal", ("skip", "pool", "conv"), (0, 0, 1, 1, 1), edges_per_node=2),
    Block("operation", ("multiply", "plus"), (0,)),
)
SPACE: Any = SimpleNamespace(
    blocks=BLOCKS, arch_parameters=list, weight_parameters=list, name="small"
)


def total(scores: dict[str, torch.Tensor], one: Selection) -> float:
    return sum(
        float(scores[name][edge, k])
        for name, edges in one.items()
        for edge, k in enumerate(edges)
        if k >= 0
    )


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_the_likeliest_are_those_of_all_selections(seed: int, most: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    scores = {b.name: torch.rand(b.shape, generator=draws, dtype=torch.float64) for b in BLOCKS}
    every = Selections(BLOCKS)
    ranked = sorted(
        (every.numbered(n) for n in range(every.count)), key=lambda one: -total(scores, one)
    )
    found = likeliest(BLOCKS, scores, most)
    assert found == ranked[:most]
    assert found[0] == project(scores, BLOCKS).choices()


def test_what_is_pruned_is_in_no_selection() -> None:
    scores = {b.name: torch.zeros(b.shape) for b in BLOCKS}
    scores["operation"][0, 1] = -math.inf
    scores["normal"][:, 1:] = -math.inf
    found = likeliest(BLOCKS, scores, 50)
    assert len(found) == 3  # the pairs of three edges into the second node
    assert {one["operation"] for one in found} == {(0,)}


def made(kind: Any, **values: Any) -> Any:
    draws = torch.Generator().manual_seed(1)
    return kind(SPACE, kind.Settings(**values), Plan(10), draws)


@pytest.mark.parametrize("kind", [Nasp, Darts, BayesNAS, Enas, RandomWS])
def test_the_selection_of_a_method_is_proposed_first(kind: Any) -> None:
    method = made(kind)
    assert isinstance(method, Proposes)
    found = proposed(method, BLOCKS, 9)
    assert found[0] == method.best_gates().choices()
    assert len(found) == len(set(found)) == 9
    for one in found:
        one.check(BLOCKS)
    assert len(proposed(method, BLOCKS, 1000)) == Selections(BLOCKS).count


def test_a_method_without_proposals_has_those_of_its_alpha() -> None:
    one = Selections(BLOCKS).numbered(7)
    found = proposed(Fixed(SPACE, one.to_gates(BLOCKS), 0.1), BLOCKS, 5)
    assert found[0] == one
    near = Selections(BLOCKS).neighbors(one)
    assert all(other in near for other in found[1:])


def test_nasp_proposes_by_how_long_and_how_late_it_had_a_selection() -> None:
    """Steps 1 to 5 at the first, 6 and 7 at the second, 8 at the third: 15, 13, 8."""
    nasp, every = made(Nasp), Selections(BLOCKS)
    first, second, third = (every.numbered(n) for n in (3, 4, 5))
    for one in (*[first] * 5, second, second, third):
        nasp._remember(one)
    assert nasp.proposals(9) == [first, second, third]
    again = made(Nasp)
    again.load_state_dict(nasp.state_dict())
    again._remember(third)  # 8 + 9
    assert again.proposals(2) == [third, first]


def test_nasp_forgets_the_least_of_a_long_path() -> None:
    nasp, every = made(Nasp), Selections(BLOCKS)
    for number in range(3 * PATH):
        nasp._remember(every.numbered(number))
    assert PATH <= len(nasp._path) <= 2 * PATH
    assert nasp.proposals(1) == [every.numbered(3 * PATH - 1)]


def test_what_was_judged_is_proposed_by_its_errors() -> None:
    for method in (made(RandomWS, candidates=6), made(Enas, candidates=6)):
        errors: dict[Selection, float] = {}

        def error(gates: Any, errors: dict[Selection, float] = errors) -> float:
            return errors.setdefault(gates.choices(), (-1.0) ** len(errors) * len(errors))

        method.choose(error)
        ranked = sorted(errors, key=lambda one: errors[one])
        assert list(method.proposals(len(ranked))) == ranked
        assert method.best_gates().choices() == ranked[0]


def test_draws_that_repeat_themselves_end() -> None:
    every = Selections(BLOCKS)
    numbers = iter([2, 2, 5, 2] + 200 * [5])
    assert different(lambda: every.numbered(next(numbers)), 3) == [
        every.numbered(2), every.numbered(5)
    ]  # fmt: skip
