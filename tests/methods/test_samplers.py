"""Samplers by what they ask for and are told, without any training."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from sif.core.gates import Block, Selection
from sif.errors import CheckpointError, ConfigError, ShapeError
from sif.methods.exhaustive import Exhaustive
from sif.methods.local_search import LocalSearch
from sif.methods.nsga2 import Nsga2
from sif.methods.pnas import Pnas
from sif.methods.popnas import Popnas
from sif.methods.random_search import RandomSampling
from sif.methods.regularized_evolution import RegularizedEvolution
from sif.methods.sampler import WORST, Sampler
from sif.methods.successive_halving import SuccessiveHalving
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
    "nsga2": lambda seed: Nsga2(SPACE, seed, Nsga2.Settings(population=8)),
    "regularized-evolution": lambda seed: RegularizedEvolution(
        SPACE, seed, RegularizedEvolution.Settings(population=8)
    ),
    "local-search": lambda seed: LocalSearch(SPACE, seed, LocalSearch.Settings()),
    "pnas": lambda seed: Pnas(SPACE, seed, Pnas.Settings()),
    "popnas": lambda seed: Popnas(SPACE, seed, Popnas.Settings(measured=False)),
    "successive-halving": lambda seed: SuccessiveHalving(SPACE, seed, SuccessiveHalving.Settings()),
}
NEEDS = {"tpe": "optuna", "nsga2": "pymoo"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Callable[[int], Sampler]:
    if request.param in NEEDS:
        pytest.importorskip(NEEDS[request.param])
    return KINDS[request.param]


def distance(selection: Selection) -> float:
    """Distance of a selection from (y, -, y, z), q, where it is 0."""
    wanted = {"a": (1, -1, 1, 2), "b": (1,)}
    return float(sum(a != b for n in wanted for a, b in zip(wanted[n], selection[n], strict=True)))


def asked(sampler: Sampler, most: int) -> list[Selection]:
    """Selections that a sampler asks for while it is told `distance`."""
    found = []
    while len(found) < most and (selection := sampler.ask()) is not None:
        sampler.tell(selection, distance(selection), selection.cost(BLOCKS))
        found.append(selection)
    return found


def test_exhaustive_visits_every_selection_once() -> None:
    for seed in (0, 1):
        found = asked(KINDS["exhaustive"](seed), 10_000)
        assert len(found) == len(set(found)) == COUNT
    assert asked(KINDS["exhaustive"](0), 5) != asked(KINDS["exhaustive"](1), 5)


def test_exhaustive_refuses_a_space_that_is_too_large() -> None:
    blocks = (Block("a", tuple("abcdefgh"), tuple(range(5)), 1),)
    with pytest.raises(ConfigError, match="at most 10,000 selections, found 32,768"):
        Exhaustive(SimpleNamespace(blocks=blocks), 0)  # type: ignore[arg-type]


def test_random_draws_nothing_twice_until_the_space_is_used_up() -> None:
    found = asked(KINDS["random"](3), 10_000)
    assert len(set(found)) == len(found) == COUNT


def test_random_leaves_nothing_out_when_redraws_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sif.core.selections.REDRAWS", 1)
    found = [asked(KINDS["random"](s), 10_000) for s in (3, 3, 4)]
    assert all(len(set(one)) == len(one) == COUNT for one in found)
    assert found[0] == found[1] != found[2]
    sampler = KINDS["random"](3)
    asked(sampler, 300)
    resumed = KINDS["random"](9)
    resumed.load_state_dict(sampler.state_dict())
    assert asked(resumed, 10_000) == found[0][300:]


def test_random_draws_every_choice_alike() -> None:
    first = [RandomSampling(SPACE, seed).ask() for seed in range(600)]
    chosen = [selection["b"][0] for selection in first if selection is not None]
    assert all(100 < chosen.count(k) < 200 for k in range(4))


def test_ask_is_the_same_until_it_is_told(kind: Callable[[int], Sampler]) -> None:
    sampler = kind(0)
    first, again = sampler.ask(), sampler.ask()
    assert first is not None and again is not None
    assert first == again == sampler.best_selection()
    other = next(
        selection for n in range(COUNT) if (selection := sampler.selections.numbered(n)) != first
    )
    with pytest.raises(ShapeError, match="the result of the selection that"):
        sampler.tell(other, 0.0, 0.0)


def test_the_selection_is_the_best_told_and_the_first_of_equals(
    kind: Callable[[int], Sampler],
) -> None:
    sampler, told = kind(1), []
    for error in (3.0, 1.0, math.inf, 1.0, 2.0):
        selection = sampler.ask()
        assert selection is not None
        told.append(selection)
        sampler.tell(selection, error, 0.0)
    assert sampler.best_selection() == told[1]
    assert sampler.results[2].error == WORST


def test_a_sampler_goes_on_from_json(kind: Callable[[int], Sampler]) -> None:
    straight = asked(kind(4), 40)
    sampler = kind(4)
    asked(sampler, 21)
    sampler.ask()
    state = json.loads(json.dumps(sampler.state_dict()))
    resumed = kind(9)
    resumed.load_state_dict(state)
    assert asked(resumed, 19) == straight[21:]
    assert kind(5).seed == 5 and resumed.seed == 4


def test_a_replay_that_asks_otherwise_is_refused(kind: Callable[[int], Sampler]) -> None:
    sampler = kind(4)
    asked(sampler, 3)
    state = sampler.state_dict()
    lists = state["told"][1][0]
    state["told"][1][0] = {**lists, "b": [(lists["b"][0] + 1) % 4]}
    with pytest.raises(CheckpointError, match="was a library updated since"):
        kind(4).load_state_dict(state)


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_learning_samplers_find_the_best_of_a_toy(name: str) -> None:
    pytest.importorskip(NEEDS[name])
    for seed in range(3):
        sampler = KINDS[name](seed)
        asked(sampler, 120)
        best = min(told.error for told in sampler.results)
        assert best <= 1
        # Better than chance: later selections are nearer than the first, random ones.
        first, last = (
            [t.error for t in part] for part in (sampler.results[:10], sampler.results[-30:])
        )
        assert sum(last) / 30 < sum(first) / 10


def test_the_front_of_nsga2_is_not_dominated() -> None:
    pytest.importorskip("pymoo")
    sampler = Nsga2(SPACE, 0, Nsga2.Settings(population=8))
    asked(sampler, 60)
    front = sampler.front()
    points = {(t.error, t.cost) for t in sampler.results}

    def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a != b and a[0] <= b[0] and a[1] <= b[1]

    expected = {p for p in points if not any(dominates(q, p) for q in points)}
    assert {(t.error, t.cost) for t in front} == expected
    assert len(front) == len(expected) > 1
    assert [t.cost for t in front] == sorted(t.cost for t in front)


def test_a_divergence_does_not_flatten_the_crowding_distance_of_nsga2() -> None:
    pytest.importorskip("pymoo")
    sampler = Nsga2(SPACE, 0, Nsga2.Settings(population=8))
    for number in range(8):
        selection = sampler.ask()
        assert selection is not None
        error = math.inf if number == 2 else 1.0 + number / 10
        sampler.tell(selection, error, selection.cost(BLOCKS))
    assert sampler.results[2].error == WORST
    assert sampler._algorithm.pop.get("F")[:, 0].max() == 1.7
    following = sampler.ask()
    resumed = Nsga2(SPACE, 9, Nsga2.Settings(population=8))
    resumed.load_state_dict(json.loads(json.dumps(sampler.state_dict())))
    again = resumed.ask()
    assert following is not None and again is not None
    assert following == again
    assert resumed._algorithm.pop.get("F")[:, 0].max() == 1.7


def test_nsga2_ends_where_nothing_new_can_be_bred() -> None:
    pytest.importorskip("pymoo")
    space: Any = SimpleNamespace(blocks=(Block("a", ("x", "y", "z")),))
    sampler = Nsga2(space, 0, Nsga2.Settings(population=8))
    seen = []
    while (selection := sampler.ask()) is not None:
        seen.append(selection["a"][0])
        sampler.tell(selection, float(len(seen)), 0.0)
    assert sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize(("method", "name"), [("tpe", "optuna"), ("nsga2", "pymoo")])
def test_a_missing_library_says_what_to_install(
    method: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(module: str) -> None:
        raise ImportError(module)

    monkeypatch.setattr(optional.importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=rf"expected {name}, found none; pip install 'sif\[bench"):
        KINDS[method](0)


@pytest.mark.parametrize("name", ["random", "exhaustive", "nsga2"])
@pytest.mark.parametrize("told", [0, 3, 8, COUNT - 2])
def test_what_is_known_ahead_is_asked_for_next(name: str, told: int) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
        told = min(told, 20)
    sampler, plain = KINDS[name](4), KINDS[name](4)
    asked(sampler, told)
    ahead = sampler.ahead(5)
    assert sampler.ahead(5) == ahead  # nothing has changed
    most = 5 if name != "nsga2" else 8 - told % 8  # of a generation
    assert len(ahead) == min(5, most, COUNT - told)
    assert asked(sampler, len(ahead)) == ahead
    asked(plain, told + len(ahead))
    assert asked(sampler, 3) == asked(plain, 3)


def test_a_used_up_space_has_nothing_ahead() -> None:
    for name in ("random", "exhaustive"):
        sampler = KINDS[name](0)
        asked(sampler, COUNT)
        assert sampler.ahead(2) == []
