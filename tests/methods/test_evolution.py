"""Regularized evolution and local search, by hand and on planted tables, without any training."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sif.core.gates import Block, Selection
from sif.core.selections import Selections
from sif.methods.local_search import LocalSearch
from sif.methods.random_search import RandomSampling
from sif.methods.regularized_evolution import RegularizedEvolution
from sif.methods.sampler import Sampler

# Two edges into node 0, three into node 1, each of which keeps two; as a small cell for images.
CELL: Any = SimpleNamespace(blocks=(Block("cell", tuple("abcd"), (0, 0, 1, 1, 1), 2),))
# Six free choices of four: 4,096 selections.
CHOICES: Any = SimpleNamespace(blocks=(Block("b", tuple("abcd"), tuple(range(6))),))
Table = Callable[[Selection], float]


def separable(space: Any, seed: int) -> Table:
    """A sum over edges of drawn errors of their operations; an edge that is not kept adds none."""
    draws = torch.Generator().manual_seed(seed)
    errors = {block.name: torch.rand(block.shape, generator=draws) for block in space.blocks}

    def table(selection: Selection) -> float:
        return sum(
            float(errors[name][edge, k])
            for name, edges in selection.items()
            for edge, k in enumerate(edges)
            if k >= 0
        )

    return table


def told(sampler: Sampler, table: Table, most: int) -> list[Selection]:
    found = []
    while len(found) < most and (selection := sampler.ask()) is not None:
        sampler.tell(selection, table(selection), 0.0)
        found.append(selection)
    return found


def best(sampler: Sampler) -> float:
    return min(result.error for result in sampler.results)


def evolution(space: Any, seed: int, population: int = 16, rivals: int = 4) -> RegularizedEvolution:
    settings = RegularizedEvolution.Settings(population=population, rivals=rivals)
    return RegularizedEvolution(space, seed, settings)


def local(space: Any, seed: int, first_improvement: bool = False) -> LocalSearch:
    settings = LocalSearch.Settings(first_improvement=first_improvement)
    return LocalSearch(space, seed, settings)


def test_neighbors_of_a_cell_are_one_operation_or_one_edge_away() -> None:
    every = Selections((Block("a", ("x", "y"), (0, 0, 0, 1), 2),))
    start = Selection({"a": (0, -1, 1, 0)})
    operations = [(1, -1, 1, 0), (0, -1, 0, 0), (0, -1, 1, 1)]
    assert [one["a"] for one in every.other_operations(start)] == operations
    edges = [(-1, 0, 1, 0), (0, 1, -1, 0)]  # the new edge has the operation of the old one
    assert [one["a"] for one in every.other_edges(start)] == edges
    assert [one["a"] for one in every.neighbors(start)] == operations + edges
    for one in every.neighbors(start):
        one.check(every.blocks)
        assert start in every.neighbors(one)


def test_neighbors_reach_every_selection() -> None:
    every = Selections(CELL.blocks)
    reached, edge = {every.numbered(0)}, [every.numbered(0)]
    while edge:
        near = {one for center in edge for one in every.neighbors(center)} - reached
        reached, edge = reached | near, list(near)
    assert len(reached) == every.count == 16 * 3 * 16


def test_the_oldest_dies_and_not_the_worst() -> None:
    sampler = evolution(CHOICES, 0, population=3, rivals=50)
    first = []
    for error in (1.0, 3.0, 2.0):
        selection = sampler.ask()
        assert selection is not None
        first.append(selection)
        sampler.tell(selection, error, 0.0)
    near = sampler.selections.neighbors
    # Fifty draws of three see all of them: the best is the parent, though it is the oldest.
    child = sampler.ask()
    assert child is not None and child in near(first[0])
    sampler.tell(child, 4.0, 0.0)
    assert [one.selection for one in sampler.population] == [first[1], first[2], child]
    # The best result of all is dead now: the parent is the best of the living.
    second = sampler.ask()
    assert second is not None and second in near(first[2])
    sampler.tell(second, 5.0, 0.0)
    assert [one.error for one in sampler.population] == [2.0, 4.0, 5.0]
    assert sampler.best_selection() == first[0]


def test_one_rival_makes_every_parent_equally_likely() -> None:
    parents = []
    for seed in range(300):
        sampler = evolution(CHOICES, seed, population=3, rivals=1)
        first = told(sampler, lambda selection: 0.0, 3)
        child = sampler.ask()
        assert child is not None
        parents.append([child in sampler.selections.neighbors(one) for one in first].index(True))
    assert all(70 < parents.count(number) < 130 for number in range(3))


def test_both_kinds_of_mutation_are_equally_likely() -> None:
    kinds = []
    for seed in range(300):
        sampler = evolution(CELL, seed, population=2, rivals=20)
        first = told(sampler, lambda selection: 0.0, 1)[0]
        told(sampler, lambda selection: 1.0, 1)
        child = sampler.ask()
        assert child is not None
        kinds.append(child in sampler.selections.other_edges(first))
        assert kinds[-1] or child in sampler.selections.other_operations(first)
    assert 120 < sum(kinds) < 180


def test_evolution_beats_random_at_the_same_number_of_candidates() -> None:
    wins, gains = 0, []
    for seed in range(20):
        table = separable(CHOICES, seed)
        ours, random = evolution(CHOICES, seed), RandomSampling(CHOICES, seed)
        told(ours, table, 100)
        told(random, table, 100)
        wins += best(ours) < best(random)
        gains.append(best(random) - best(ours))
    assert wins >= 17 and sum(gains) / 20 > 0.1


def test_evolution_ends_when_everything_is_known() -> None:
    space: Any = SimpleNamespace(blocks=(Block("a", ("x", "y", "z")),))
    sampler = evolution(space, 0)
    assert len(told(sampler, lambda selection: 0.0, 50)) == 3
    assert sampler.ask() is None and sampler.ahead(3) == []


def test_local_search_moves_on_a_table_by_hand() -> None:
    """Two edges of three operations: errors of (first, second) by row and column."""
    space: Any = SimpleNamespace(blocks=(Block("a", ("x", "y", "z"), (0, 1)),))
    errors = ((5.0, 4.0, 7.0), (3.0, 6.0, 9.0), (8.0, 2.0, 1.0))

    def table(selection: Selection) -> float:
        first, second = selection["a"]
        return errors[first][second]

    seed = next(
        s for s in range(50) if local(space, s).ask() == Selection({"a": (0, 0)})
    )  # fmt: skip
    sampler = local(space, seed)
    asked = [one["a"] for one in told(sampler, table, 5)]
    assert asked[0] == (0, 0)
    assert set(asked[1:]) == {(1, 0), (2, 0), (0, 1), (0, 2)}  # all, in a drawn order
    assert sampler.center == Selection({"a": (1, 0)})  # 3, the best of them, not the first better
    further = [one["a"] for one in told(sampler, table, 2)]
    assert set(further) == {(1, 1), (1, 2)}  # (0, 0) and (2, 0) are known: 5 and 8
    assert sampler.center is None  # a local optimum, though (2, 2) is better
    restart = sampler.ask()
    assert restart is not None and restart["a"] in {(2, 1), (2, 2)}
    assert len(told(sampler, table, 50)) == 2 and sampler.ask() is None
    assert sampler.best_selection()["a"] == (2, 2)


def test_neighbors_come_in_another_order_by_another_seed() -> None:
    orders = set()
    for seed in range(40):
        sampler = local(CELL, seed)
        start = told(sampler, lambda selection: 0.0, 1)[0]
        near = sampler.selections.neighbors(start)
        order = sampler.ahead(100)
        assert set(order) == set(near) and len(order) == len(near) == 4 * 3 + 2
        orders.add(near.index(order[0]))
    assert len(orders) > 5


def test_the_first_improvement_is_taken_at_once_where_that_is_set() -> None:
    table = separable(CHOICES, 3)
    sampler = local(CHOICES, 1, first_improvement=True)
    center, moves, near = told(sampler, table, 1)[0], 0, 0
    while sampler.center is not None:
        assert sampler.center == center
        selection = told(sampler, table, 1)[0]
        assert selection in sampler.selections.neighbors(center)
        if table(selection) < table(center):
            center, moves = selection, moves + 1
        near += 1
    assert moves > 3  # fewer than 18 neighbors for each: it did not wait for all of them
    assert near < 18 * moves
    assert all(table(one) >= table(center) for one in sampler.selections.neighbors(center))


@pytest.mark.parametrize("first_improvement", [False, True])
def test_local_search_finds_the_optimum_of_a_separable_table(first_improvement: bool) -> None:
    """A separable table has one local optimum: a step per edge, of the neighbors of each."""
    for seed in range(20):
        table = separable(CHOICES, seed)
        single = [[Selection({"b": [-1] * n + [k] + [-1] * (5 - n)}) for k in range(4)]
                  for n in range(6)]  # fmt: skip
        optimum = sum(min(table(one) for one in edge) for edge in single)
        sampler = local(CHOICES, seed, first_improvement)
        neighbors = 6 * 3
        told(sampler, table, 1 + 7 * neighbors)  # one of them to see that nothing is better
        assert best(sampler) == optimum


def test_local_search_beats_random_at_the_same_number_of_candidates() -> None:
    wins = 0
    for seed in range(20):
        table = separable(CHOICES, seed)
        ours, random = local(CHOICES, seed), RandomSampling(CHOICES, seed)
        told(ours, table, 100)
        told(random, table, 100)
        wins += best(ours) < best(random)
    assert wins >= 17


@pytest.mark.parametrize("first_improvement", [False, True])
def test_local_search_goes_on_from_json_and_knows_what_is_ahead(first_improvement: bool) -> None:
    table = separable(CELL, 2)
    straight = told(local(CELL, 4, first_improvement), table, 90)
    for count in (1, 7, 15, 40):
        sampler = local(CELL, 4, first_improvement)
        told(sampler, table, count)
        state = json.loads(json.dumps(sampler.state_dict()))
        resumed = local(CELL, 9, first_improvement)
        resumed.load_state_dict(state)
        ahead = resumed.ahead(3)
        assert ahead == straight[count : count + len(ahead)] and ahead
        assert told(resumed, table, 90 - count) == straight[count:]


@pytest.mark.parametrize("made", [evolution, local])
def test_every_selection_is_legal(made: Callable[[Any, int], Sampler]) -> None:
    table = separable(CELL, 0)
    for selection in told(made(CELL, 3), table, 150):
        selection.check(CELL.blocks)
