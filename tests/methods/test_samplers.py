"""Samplers by what they ask for and are told, without any training."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sif.core.gates import Block, Gates, cost_of
from sif.core.proximal import project
from sif.core.selections import LISTED, Choices
from sif.errors import CheckpointError, ConfigError, ShapeError
from sif.methods.exhaustive import Exhaustive
from sif.methods.nsga2 import Nsga2
from sif.methods.random_search import RandomSampling
from sif.methods.sampler import WORST, Sampler
from sif.methods.tpe import Tpe
from sif.utils import optional

# Three edges into node 0 of which two are kept, one into node 1; a second block with costs.
BLOCKS = (
    Block("a", ("x", "y", "z"), (0, 0, 0, 1), 2),
    Block("b", ("p", "q", "r", "s"), costs=((1.0, 2.0, 3.0, 5.0),)),
)
SPACE: Any = SimpleNamespace(blocks=BLOCKS)
COUNT = 3 * 9 * 3 * 4
KINDS: dict[str, Callable[[int], Sampler]] = {
    "random": lambda seed: RandomSampling(SPACE, seed),
    "exhaustive": lambda seed: Exhaustive(SPACE, seed),
    "tpe": lambda seed: Tpe(SPACE, seed),
    "nsga2": lambda seed: Nsga2(SPACE, seed, population=8),
}
NEEDS = {"tpe": "optuna", "nsga2": "pymoo"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Callable[[int], Sampler]:
    if request.param in NEEDS:
        pytest.importorskip(NEEDS[request.param])
    return KINDS[request.param]


def distance(gates: Gates) -> float:
    """Of a selection from (y, -, y, z), q, where it is 0."""
    wanted = {"a": (1, -1, 1, 2), "b": (1,)}
    chosen = gates.choices()
    return float(sum(a != b for n in wanted for a, b in zip(wanted[n], chosen[n], strict=True)))


def asked(sampler: Sampler, most: int) -> list[Gates]:
    """What is asked for while `distance` is told."""
    found = []
    while len(found) < most and (gates := sampler.ask()) is not None:
        sampler.tell(gates, distance(gates), cost_of(gates, BLOCKS))
        found.append(gates)
    return found


def test_every_legal_selection_has_one_row() -> None:
    choices = Choices(BLOCKS)
    assert choices.count == COUNT
    assert choices.names[:4] == ("a.0.edges", "a.0.0", "a.0.1", "a.1.edges")
    rows = [choices.numbered(n) for n in range(COUNT)]
    assert rows == sorted(itertools.product(*map(range, choices.sizes)))
    selections = {str(choices.gates(row).choices()) for row in rows}
    assert len(selections) == COUNT
    for row in rows[::7]:
        gates = choices.gates(row)
        again = project(gates.weights, BLOCKS)
        if all(k >= 0 for e, k in enumerate(gates.choices()["a"]) if e == 3):
            assert again.choices() == gates.choices()


def test_a_selection_costs_what_its_operations_do() -> None:
    choices = Choices(BLOCKS)
    costs = [cost_of(choices.gates(choices.numbered(n)), BLOCKS) for n in range(4)]
    assert costs == [1.0, 2.0, 3.0, 5.0]


def test_distinct_rows_are_different_and_all_of_them_if_asked() -> None:
    wide = Choices((Block("a", tuple("abcdefgh"), tuple(range(5)), 1),))
    for choices, most, expected in (
        (Choices(BLOCKS), 20, 20), (Choices(BLOCKS), 10**6, COUNT), (wide, 50, 50),
    ):  # fmt: skip
        rows = choices.distinct(most, torch.Generator().manual_seed(0))
        assert len(set(rows)) == len(rows) == expected
        assert rows == choices.distinct(most, torch.Generator().manual_seed(0))
        assert rows != choices.distinct(most, torch.Generator().manual_seed(1))
    assert wide.count > LISTED


def test_exhaustive_visits_every_selection_once() -> None:
    for seed in (0, 1):
        found = [str(gates.choices()) for gates in asked(KINDS["exhaustive"](seed), 10_000)]
        assert len(found) == len(set(found)) == COUNT
    assert str(asked(KINDS["exhaustive"](0), 5)) != str(asked(KINDS["exhaustive"](1), 5))


def test_exhaustive_refuses_a_space_that_is_too_large() -> None:
    blocks = (Block("a", tuple("abcdefgh"), tuple(range(5)), 1),)
    with pytest.raises(ConfigError, match="at most 10,000 selections, found 32,768"):
        Exhaustive(SimpleNamespace(blocks=blocks), 0)  # type: ignore[arg-type]


def test_random_draws_nothing_twice_until_the_space_is_used_up() -> None:
    found = [str(gates.choices()) for gates in asked(KINDS["random"](3), 10_000)]
    assert len(set(found)) == len(found) == COUNT


def test_random_leaves_nothing_out_when_redraws_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sif.methods.random_search.REDRAWS", 1)
    found = [[str(g.choices()) for g in asked(KINDS["random"](s), 10_000)] for s in (3, 3, 4)]
    assert all(len(set(one)) == len(one) == COUNT for one in found)
    assert found[0] == found[1] != found[2]
    sampler = KINDS["random"](3)
    asked(sampler, 300)
    resumed = KINDS["random"](9)
    resumed.load_state_dict(sampler.state_dict())
    assert [str(g.choices()) for g in asked(resumed, 10_000)] == found[0][300:]


def test_random_draws_every_choice_alike() -> None:
    first = [RandomSampling(SPACE, seed).ask() for seed in range(600)]
    chosen = [gates.choices()["b"][0] for gates in first if gates is not None]
    assert all(100 < chosen.count(k) < 200 for k in range(4))


def test_ask_is_the_same_until_it_is_told(kind: Callable[[int], Sampler]) -> None:
    sampler = kind(0)
    first, again = sampler.ask(), sampler.ask()
    assert first is not None and again is not None
    assert first.choices() == again.choices() == sampler.best_gates().choices()
    other = next(
        g for n in range(COUNT)
        if (g := sampler.choices.gates(sampler.choices.numbered(n))).choices()
        != first.choices()
    )  # fmt: skip
    with pytest.raises(ShapeError, match="told of the selection that was asked"):
        sampler.tell(other, 0.0, 0.0)


def test_the_selection_is_the_best_told_and_the_first_of_equals(
    kind: Callable[[int], Sampler],
) -> None:
    sampler, told = kind(1), []
    for error in (3.0, 1.0, math.inf, 1.0, 2.0):
        gates = sampler.ask()
        assert gates is not None
        told.append(gates.choices())
        sampler.tell(gates, error, 0.0)
    assert sampler.best_gates().choices() == told[1]
    assert sampler.told[2].error == WORST
    assert {n: w.tolist() for n, w in sampler.alpha().items()} == {
        n: w.tolist() for n, w in sampler.best_gates().weights.items()
    }


def test_a_sampler_goes_on_from_json(kind: Callable[[int], Sampler]) -> None:
    straight = [g.choices() for g in asked(kind(4), 40)]
    sampler = kind(4)
    asked(sampler, 21)
    sampler.ask()
    state = json.loads(json.dumps(sampler.state_dict()))
    resumed = kind(9)
    resumed.load_state_dict(state)
    assert [g.choices() for g in asked(resumed, 19)] == straight[21:]
    assert kind(5).seed == 5 and resumed.seed == 4


def test_a_replay_that_asks_otherwise_is_refused(kind: Callable[[int], Sampler]) -> None:
    sampler = kind(4)
    asked(sampler, 3)
    state = sampler.state_dict()
    row = state["told"][1][0]
    state["told"][1][0] = [(x + 1) % size for x, size in zip(row, sampler.choices.sizes,
                                                            strict=True)]  # fmt: skip
    with pytest.raises(CheckpointError, match="was a library updated since"):
        kind(4).load_state_dict(state)


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_learning_samplers_find_the_best_of_a_toy(name: str) -> None:
    pytest.importorskip(NEEDS[name])
    for seed in range(3):
        sampler = KINDS[name](seed)
        asked(sampler, 120)
        best = min(told.error for told in sampler.told)
        assert best <= 1
        # Better than chance: later selections are nearer than the first, random ones.
        first, last = ([t.error for t in part] for part in (sampler.told[:10], sampler.told[-30:]))
        assert sum(last) / 30 < sum(first) / 10


def test_the_front_of_nsga2_is_not_dominated() -> None:
    pytest.importorskip("pymoo")
    sampler = Nsga2(SPACE, 0, population=8)
    asked(sampler, 60)
    front = sampler.front()
    points = {(t.error, t.cost) for t in sampler.told}

    def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a != b and a[0] <= b[0] and a[1] <= b[1]

    expected = {p for p in points if not any(dominates(q, p) for q in points)}
    assert {(t.error, t.cost) for t in front} == expected
    assert len(front) == len(expected) > 1
    assert [t.cost for t in front] == sorted(t.cost for t in front)


def test_a_divergence_does_not_flatten_the_crowding_distance_of_nsga2() -> None:
    pytest.importorskip("pymoo")
    sampler = Nsga2(SPACE, 0, population=8)
    for number in range(8):
        gates = sampler.ask()
        assert gates is not None
        error = math.inf if number == 2 else 1.0 + number / 10
        sampler.tell(gates, error, cost_of(gates, BLOCKS))
    assert sampler.told[2].error == WORST
    assert sampler._algorithm.pop.get("F")[:, 0].max() == 1.7
    following = sampler.ask()
    resumed = Nsga2(SPACE, 9, population=8)
    resumed.load_state_dict(json.loads(json.dumps(sampler.state_dict())))
    again = resumed.ask()
    assert following is not None and again is not None
    assert following.choices() == again.choices()
    assert resumed._algorithm.pop.get("F")[:, 0].max() == 1.7


def test_nsga2_ends_where_nothing_new_can_be_bred() -> None:
    pytest.importorskip("pymoo")
    space: Any = SimpleNamespace(blocks=(Block("a", ("x", "y", "z")),))
    sampler = Nsga2(space, 0, population=8)
    seen = []
    while (gates := sampler.ask()) is not None:
        seen.append(gates.choices()["a"][0])
        sampler.tell(gates, float(len(seen)), 0.0)
    assert sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize(("kind", "name"), [(Tpe, "optuna"), (Nsga2, "pymoo")])
def test_a_missing_library_says_what_to_install(
    kind: type[Sampler], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(module: str) -> None:
        raise ImportError(module)

    monkeypatch.setattr(optional.importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=rf"expected {name}, found none; pip install 'sif\[bench"):
        kind(SPACE, 0)
