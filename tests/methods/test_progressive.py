"""PNAS and POPNAS: levels, surrogate and filters, by hand and on planted tables."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sif.core.gates import Block, Selection
from sif.core.selections import Selections
from sif.methods.kind import MethodKind, seeded
from sif.methods.pnas import Pnas, Progressive
from sif.methods.popnas import Popnas
from sif.methods.random_search import RandomSampling
from sif.methods.sampler import WORST, Sampler, bounded, undominated
from sif.methods.surrogate import Surrogate
from sif.testing.methods import _alike
from sif.testing.toys import toy_run
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint

# Node 0 keeps two of three edges, node 1 has no choice but its operation; a block with a default.
SPACE: Any = SimpleNamespace(
    blocks=(
        Block("cell", ("x", "y", "z"), (0, 0, 0, 1), 2),
        Block("free", ("p",)),  # has no choice at all
        Block("outer", ("r", "s", "t", "u"), (0, 1), default_op="t"),
    )
)
CHOICES: Any = SimpleNamespace(blocks=(Block("b", tuple("abcd"), tuple(range(6))),))


def pnas(space: Any, seed: int, beam: int = 8) -> Pnas:
    return Pnas(space, seed, Pnas.Settings(beam=beam))


def popnas(space: Any, seed: int, beam: int = 8, measured: bool = False) -> Popnas:
    return Popnas(space, seed, Popnas.Settings(beam=beam, measured=measured))


def separable(blocks: Sequence[Block], seed: int) -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return {block.name: torch.rand(block.shape, generator=draws) for block in blocks}


def total(table: dict[str, torch.Tensor], selection: Selection) -> float:
    return sum(
        float(table[name][edge, k])
        for name, edges in selection.items()
        for edge, k in enumerate(edges)
        if k >= 0
    )


def told(sampler: Sampler, table: dict[str, torch.Tensor], most: int) -> list[Selection]:
    found = []
    while len(found) < most and (selection := sampler.ask()) is not None:
        sampler.tell(selection, total(table, selection), 1.0)
        found.append(selection)
    return found


def test_one_node_varies_over_all_its_choices() -> None:
    every = Selections(SPACE.blocks)
    assert every.open_nodes == [0, 1, 3, 4]  # the block "free" has no choice
    start = every.numbered(0)
    first = list(every.varied(start, 0))
    assert len(first) == len(set(first)) == 3 * 9 and start in first
    assert {one["cell"][3] for one in first} == {start["cell"][3]}
    assert {one["outer"] for one in first} == {start["outer"]}
    for one in first:
        one.check(SPACE.blocks)
    assert [one["outer"] for one in every.varied(start, 3)] == [(k, 0) for k in range(4)]


def test_levels_free_one_node_after_another_and_leave_the_rest_neutral() -> None:
    sampler, table = pnas(SPACE, 0, beam=5), separable(SPACE.blocks, 1)
    neutral: Selection | None = None
    for level in range(1, 5):
        assert sampler.level == level
        for selection in list(sampler.kept):
            assert selection["outer"] == (2, 2) or level > 2  # "t", the default
            neutral = neutral or selection
            assert selection["cell"][3] == neutral["cell"][3] or level > 1
            assert selection["outer"][1] == 2 or level > 3
        for selection in sampler.ahead(100):
            assert sampler.ask() == selection
            sampler.tell(selection, total(table, selection), 0.0)
    asked = [result.selection for result in sampler.results]
    assert len(set(asked)) == len(asked)


def test_a_level_keeps_what_the_surrogate_ranks_first() -> None:
    sampler, table = pnas(SPACE, 3, beam=6), separable(SPACE.blocks, 3)
    nodes = sampler.selections.open_nodes
    for level in (1, 2, 3):
        before = list(sampler.kept)
        while sampler.level == level:
            told(sampler, table, 1)
        seen = [result.selection for result in sampler.results]
        errors = [result.error for result in sampler.results]
        fitted = Surrogate(SPACE.blocks, seen, errors, l2=1.0)
        pool = {one for parent in before for one in sampler.selections.varied(parent, nodes[level])}
        ranked = sorted(fitted.predict(list(pool)))
        assert sorted(fitted.predict(sampler.kept)) == ranked[:6]
        assert set(sampler.kept) <= pool and len(sampler.kept) == 6
        assert sampler.ahead(100) == [one for one in sampler.kept if one not in seen]


def test_the_surrogate_recovers_a_separable_truth() -> None:
    every, table = Selections(CHOICES.blocks), separable(CHOICES.blocks, 5)
    draws = torch.Generator().manual_seed(0)
    seen = every.distinct(60, draws)
    fitted = Surrogate(CHOICES.blocks, seen, [total(table, one) for one in seen], l2=1e-6)
    others = every.distinct(200, draws)
    truth = sorted(range(200), key=lambda n: total(table, others[n]))
    predicted = fitted.predict(others)
    assert sorted(range(200), key=lambda n: predicted[n]) == truth


def test_the_surrogate_halves_what_it_has_seen_as_often_as_the_penalty_says() -> None:
    """By hand: two of "x" and two of "y", four edges' worth of evidence against the penalty."""
    block = Block("a", ("x", "y"))
    seen = [Selection({"a": [k]}) for k in (0, 1, 0, 1)]
    # Centered features are +-1/2, twice each (edge and count): the slope of each column is
    # b = 2 / (4 + l2) for targets +-1, and a difference of two such columns in both operations.
    for l2 in (1e-9, 1.0, 4.0):
        low, high = Surrogate([block], seen, [0.0, 8.0, 0.0, 8.0], l2).predict(seen[:2])
        assert high - low == pytest.approx(4 * 2 / (4 + l2))


def test_operations_are_known_at_edges_that_never_varied() -> None:
    block = Block("a", ("x", "y", "z"), (0, 1))
    seen = [Selection({"a": [k, 0]}) for k in range(3)]
    fitted = Surrogate([block], seen, [3.0, 1.0, 2.0], l2=1.0)
    second = fitted.predict([Selection({"a": [0, k]}) for k in range(3)])
    assert second[1] < second[2] < second[0]


def test_diverged_errors_count_as_the_worst_finite_one() -> None:
    assert bounded([2.0, WORST, 3.0]) == [2.0, 3.0, 3.0]
    assert bounded([WORST]) == [WORST]
    fine, table = pnas(CHOICES, 0), separable(CHOICES.blocks, 2)
    for number in range(8):
        selection = fine.ask()
        assert selection is not None
        fine.tell(selection, float("inf") if number == 2 else total(table, selection), 0.0)
    bad = fine.results[2].selection
    assert fine.level == 2 and bad not in fine.kept


def test_undominated_points_by_hand() -> None:
    #         slow and good, fast and bad, between, dominated, equal to the first, as bad but slower
    points = [(1.0, 9.0), (5.0, 1.0), (3.0, 4.0), (4.0, 5.0), (1.0, 9.0), (5.0, 2.0)]
    assert undominated(points) == [1, 2, 0]
    assert undominated([]) == []


class Timed(Popnas):
    """Sees the true seconds of what it asks for: 9 for "a" on edge 0, 1 for all others."""

    def _predicted_errors(self, pool: Sequence[Selection]) -> list[float]:
        return [{0: 0.1, 1: 0.9, 2: 0.95, 3: 0.97}[one["b"][1]] for one in pool]

    def _predicted(self, values: Sequence[float], pool: Sequence[Selection]) -> list[float]:
        return [9.0 if one["b"][1] == 0 else 1.0 for one in pool]


def test_a_slow_good_and_a_fast_bad_selection_both_stay() -> None:
    """Planted predictions: of edge 1, "a" is good and slow, "b" the best of the fast."""
    sampler = Timed(CHOICES, 0, Popnas.Settings(beam=4))
    told(sampler, separable(CHOICES.blocks, 0), 4)
    assert sampler.level == 2
    assert [one["b"][1] for one in sampler.kept] == [0, 1]


@pytest.mark.parametrize("measured", [True, False])
def test_popnas_learns_seconds_or_costs_and_keeps_their_front(measured: bool) -> None:
    """Planted: errors and times of edges go against each other, so that PNAS keeps the slow."""
    slow = [9.0, 3.0, 2.0, 1.0]
    kept = {}
    for made in (pnas, popnas):
        sampler: Progressive = (
            pnas(CHOICES, 1, beam=4) if made is pnas else popnas(CHOICES, 1, 4, measured)
        )
        for _ in range(4):
            selection = sampler.ask()
            assert selection is not None
            seconds = sum(slow[k] for k in selection["b"])
            error = sum(0.1 * k for k in selection["b"])
            if isinstance(sampler, Popnas) and measured:
                sampler.took(selection, seconds)
            sampler.tell(selection, error, 0.0 if measured else seconds)
        assert sampler.level == 2
        kept[made] = {one["b"][:2] for one in sampler.kept}
    # All of the first level are seen; "a" on both edges is best and slowest, "d" the reverse.
    assert (0, 0) in kept[pnas] and (3, 3) not in kept[pnas]
    assert {(0, 0), (3, 3)} <= kept[popnas]


def test_equal_times_leave_the_best_alone_on_the_front() -> None:
    sampler = popnas(CHOICES, 0)
    told(sampler, separable(CHOICES.blocks, 4), 4)
    assert sampler.level == 2 and len(sampler.kept) == 1


@pytest.mark.parametrize("made", [pnas, popnas])
def test_all_that_the_last_level_offers_is_asked_for_once(made: Any) -> None:
    space: Any = SimpleNamespace(blocks=(Block("a", ("x", "y", "z"), (0, 1)),))
    sampler = made(space, 0, 2)
    asked = told(sampler, separable(space.blocks, 0), 50)
    assert len(asked) == len(set(asked)) >= 4
    assert sampler.ask() is None and sampler.ahead(2) == []


@pytest.mark.parametrize("made", [pnas, popnas])
def test_a_space_of_one_selection_has_that_one(made: Any) -> None:
    space: Any = SimpleNamespace(blocks=(Block("a", ("x",)),))
    sampler = made(space, 0)
    assert told(sampler, separable(space.blocks, 0), 5) == [Selection({"a": [0]})]


def test_a_front_that_is_too_long_keeps_both_ends() -> None:
    class Long(Timed):
        def _predicted_errors(self, pool: Sequence[Selection]) -> list[float]:
            return [float(one["b"][1]) for one in pool]

        def _predicted(self, values: Sequence[float], pool: Sequence[Selection]) -> list[float]:
            return [-float(one["b"][1]) for one in pool]

    for beam, kept in ((1, [0]), (2, [0, 3]), (3, [0, 1, 3]), (4, [0, 1, 2, 3])):
        sampler = Long(CHOICES, 0, Popnas.Settings(beam=beam))
        told(sampler, separable(CHOICES.blocks, 0), beam)
        assert [one["b"][1] for one in sampler.kept] == kept


def test_pnas_beats_random_on_a_separable_table() -> None:
    wins = 0
    for seed in range(20):
        table = separable(CHOICES.blocks, seed)
        ours, random = pnas(CHOICES, seed), RandomSampling(CHOICES, seed)
        asked = told(ours, table, 60)
        told(random, table, len(asked))
        wins += min(t.error for t in ours.results) < min(t.error for t in random.results)
    assert wins >= 17


def test_popnas_goes_on_from_json_with_its_seconds() -> None:
    table, clock = separable(CHOICES.blocks, 0), itertools.count(1)

    def timed(sampler: Popnas, most: int) -> list[Selection]:
        found = []
        while len(found) < most and (selection := sampler.ask()) is not None:
            sampler.took(selection, float(next(clock) % 7))
            sampler.tell(selection, total(table, selection), 0.0)
            found.append(selection)
        return found

    sampler = popnas(CHOICES, 0, measured=True)
    timed(sampler, 21)
    state = json.loads(json.dumps(sampler.state_dict()))
    resumed = popnas(CHOICES, 9, measured=True)
    resumed.load_state_dict(state)
    assert resumed.kept == sampler.kept and resumed.ask() == sampler.ask()
    clock = itertools.count(5)
    further = timed(sampler, 10)
    clock = itertools.count(5)
    assert timed(resumed, 10) == further
    assert len(resumed.state_dict()["seconds"]) == len(resumed.results)


def test_the_loop_tells_popnas_the_seconds_of_every_training() -> None:
    run = toy_run("space=primitives", "search.steps=25")
    made: list[Popnas] = []

    class Kept(Popnas):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    kind = MethodKind(seeded(Kept), Popnas.Settings, samples=True)
    found = run.run("mine", NullTracker(), NoCheckpoint(), lambda *_: None, kind)
    seconds = [took for _, took in made[0].state_dict()["seconds"]]
    assert len(seconds) == len(found.history) == 12 and min(seconds) > 0
    assert sum(seconds) <= found.cpu_seconds


def test_costs_in_place_of_seconds_repeat_exactly() -> None:
    sets = ("search.steps=30", "methods.popnas.measured=false", "methods.popnas.beam=3")
    one, other = (
        toy_run("space=primitives", *sets).run(
            "popnas", NullTracker(), NoCheckpoint(), lambda *_: None
        )
        for _ in range(2)
    )
    _alike(one, other, "popnas by costs")
