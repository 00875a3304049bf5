"""Successive halving: rungs and survivors by hand, and trainings that go on in the loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sif.core.gates import Block, Gates, Selection
from sif.core.method import AsksLength
from sif.methods.fixed import fixed
from sif.methods.random_search import RandomSampling
from sif.methods.successive_halving import SuccessiveHalving
from sif.search.loop import SearchResult, search
from sif.search.run import MethodRun
from sif.testing.methods import _alike
from sif.testing.promises import killed_and_resumed
from sif.testing.toys import toy_run
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint

SPACE: Any = SimpleNamespace(blocks=(Block("b", tuple("abcd"), tuple(range(6))),))
Errors = Callable[[Selection, float], float]


def halving(space: Any, seed: int, **settings: Any) -> SuccessiveHalving:
    return SuccessiveHalving(space, seed, SuccessiveHalving.Settings(**settings))


def spent(sampler: SuccessiveHalving, errors: Errors, budget: float) -> list[tuple[Any, float]]:
    """Selections and lengths that are told while a budget of whole trainings lasts, as the loop."""
    had: dict[Selection, float] = {}
    asked: list[tuple[Any, float]] = []
    while (selection := sampler.ask()) is not None:
        length = sampler.share()
        if length > had.get(selection, 0.0):
            budget -= length - had.get(selection, 0.0)
            if budget < -1e-9:
                break
            had[selection] = length
        assert set(had) >= set(sampler.open())
        asked.append((selection, length))
        sampler.tell(selection, errors(selection, length), 0.0)
    return asked


def test_rungs_and_survivors_by_hand() -> None:
    """Nine, three and one, by eta 3; the second rung turns the ranking of the first around."""
    sampler = halving(SPACE, 0)
    assert isinstance(sampler, AsksLength)
    first: list[Selection] = []
    for error in (5.0, 2.0, 9.0, 1.0, 7.0, 8.0, 3.0, 6.0, 4.0):
        selection = sampler.ask()
        assert selection is not None and sampler.share() == pytest.approx(1 / 9)
        first.append(selection)
        sampler.tell(selection, error, 0.0)
    assert len(set(first)) == 9
    assert set(sampler.open()) == {first[3], first[1], first[6]}
    for number, error in ((3, 1.0), (1, 0.5), (6, 0.7)):  # the best of the first rung comes first
        assert sampler.ask() == first[number]
        assert sampler.share() == pytest.approx(1 / 3)
        sampler.tell(first[number], error, 0.0)
    assert sampler.ask() == first[1] and sampler.share() == 1.0
    assert set(sampler.open()) == {first[1]}
    sampler.tell(first[1], 0.4, 0.0)
    assert sampler.best_selection() == first[1]
    following = sampler.ask()  # the next bracket
    assert following is not None and following not in first
    assert sampler.share() == pytest.approx(1 / 9) and set(sampler.open()) == set()


def test_only_trainings_that_may_go_on_are_open() -> None:
    sampler = halving(SPACE, 1, candidates=6, eta=2, rungs=3)
    told: list[tuple[float, Selection]] = []
    for error in (5.0, 2.0, 9.0, 1.0, 7.0):
        selection = sampler.ask()
        assert selection is not None
        sampler.tell(selection, error, 0.0)
        told.append((error, selection))
        best = [one for _, one in sorted(told, key=lambda t: t[0])[:3]]
        assert set(sampler.open()) == set(best)


@pytest.mark.parametrize(
    ("settings", "rungs"),
    [({"candidates": 8, "eta": 2, "rungs": 4}, [8, 4, 2, 1]),
     ({"candidates": 10, "eta": 3, "rungs": 3}, [10, 3, 1]),
     ({"candidates": 2, "eta": 3, "rungs": 3}, [2, 1, 1]),
     ({"candidates": 5, "eta": 2, "rungs": 1}, [5])],
)  # fmt: skip
def test_a_bracket_has_its_rungs(settings: dict[str, int], rungs: list[int]) -> None:
    sampler = halving(SPACE, 0, **settings)
    asked = spent(sampler, lambda selection, length: sum(selection["b"]), 100)[: sum(rungs)]
    top = len(rungs) - 1
    lengths = [settings["eta"] ** (k - top) for k, size in enumerate(rungs) for _ in range(size)]
    assert [length for _, length in asked] == pytest.approx(lengths)


def planted(seed: int) -> Errors:
    """Errors that fall with the length of training, and whose ranks do not change."""
    draws = torch.Generator().manual_seed(seed)
    errors = torch.rand((6, 4), generator=draws).tolist()

    def error(selection: Selection, length: float) -> float:
        return float(sum(errors[e][k] for e, k in enumerate(selection["b"]))) + 1.0 / length

    return error


def test_it_begins_more_than_random_and_is_at_least_level_at_equal_steps() -> None:
    budget, wins, level, begun = 14, 0, 0, []
    for seed in range(20):
        table = planted(seed)
        ours, random = halving(SPACE, seed), RandomSampling(SPACE, seed)
        asked = spent(ours, table, budget)
        begun.append(len({selection for selection, _ in asked}))
        theirs = []
        for _ in range(budget):
            selection = random.ask()
            assert selection is not None
            theirs.append(table(selection, 1.0))
            random.tell(selection, theirs[-1], 0.0)
        best = min(result.error for result in ours.results)
        level += best <= min(theirs)
        wins += best < min(theirs)
    assert min(begun) == 54  # six brackets of nine, where random trains 14
    assert level >= 14 and wins >= 13


def test_proposals_of_tpe_learn_from_first_rungs() -> None:
    pytest.importorskip("optuna")
    for seed in range(3):
        table = planted(seed)
        sampler = halving(SPACE, seed, proposals="tpe")
        asked = spent(sampler, table, 28)
        first = [s for s, length in asked if length < 0.2]
        assert len(first) == len(set(first)) == 108
        values = [table(one, 1.0) for one in first]
        assert sum(values[-30:]) / 30 < sum(values[:10]) / 10


@pytest.mark.parametrize("proposals", ["random", "tpe"])
def test_a_used_up_space_ends_with_a_bracket_that_is_not_full(proposals: str) -> None:
    if proposals == "tpe":
        pytest.importorskip("optuna")
    space: Any = SimpleNamespace(blocks=(Block("b", tuple("abcd")),))
    sampler = halving(space, 0, proposals=proposals)
    asked = spent(sampler, lambda selection, length: float(selection["b"][0]), 100)
    assert [selection["b"][0] for selection, _ in asked[4:]] == [0, 0]
    assert {selection["b"][0] for selection, _ in asked[:4]} == {0, 1, 2, 3}
    assert sampler.ask() is None


@pytest.mark.parametrize("count", [1, 8, 9, 11, 13, 20])
def test_it_goes_on_from_json(count: int) -> None:
    table = planted(0)
    straight = halving(SPACE, 4)
    asked = spent(straight, table, 6)
    sampler = halving(SPACE, 4)
    for selection, length in asked[:count]:
        assert sampler.ask() == selection
        sampler.tell(selection, table(selection, length), 0.0)
    resumed = halving(SPACE, 9)
    resumed.load_state_dict(json.loads(json.dumps(sampler.state_dict())))
    assert set(resumed.open()) == set(sampler.open())
    for selection, length in asked[count:]:
        assert resumed.ask() == selection and resumed.share() == length
        resumed.tell(selection, table(selection, length), 0.0)


SHORT = ("space=primitives", "search.steps=null", "methods.successive-halving.candidates=4",
         "methods.successive-halving.eta=2")  # fmt: skip


def job(epochs: int, each: int, *sets: str) -> MethodRun:
    return toy_run(*SHORT, f"search.epochs={epochs}", f"search.candidate_epochs={each}", *sets)


def searched(run: MethodRun) -> SearchResult:
    return run.run("successive-halving", NullTracker(), NoCheckpoint(), lambda *_: None)


def judged(run: MethodRun) -> MethodRun:
    """The same with errors that do not depend on the training."""

    def judge(space: Any, gates: Gates) -> float:
        return 1.0 + sum(map(sum, gates.choices().values()))

    return replace(run, judge=judge)


@pytest.mark.parametrize("sets", [(), ("space=sif", "objective=rating")])
def test_survivors_go_on_from_where_they_stopped(sets: tuple[str, ...]) -> None:
    """One, two and four epochs: the last survivor is as one training of four epochs."""
    run = job(8, 4, *sets)
    found = searched(run)
    own = [entry["candidate"] for entry in found.history]
    assert [one["epochs"] for one in own] == [1] * 4 + [2] * 2 + [4]
    assert [entry["steps"] for entry in found.history] == [2, 4, 6, 8, 10, 12, 16]
    assert (found.epochs, found.steps) == (8, 16)
    errors = [one["judged"][run.judged] for one in own]
    first = sorted(range(4), key=lambda n: errors[n])
    assert [one["selection"] for one in own[4:6]] == [own[n]["selection"] for n in first[:2]]
    assert own[6]["selection"] == min(own[4:6], key=lambda o: o["judged"][run.judged])["selection"]

    space = run.make_space(False)
    method = fixed(space, Selection(own[6]["selection"]), run.continuous_lr)
    alone = search(space, method, *run.streams(), run._loop(4), NullTracker(), NoCheckpoint())
    gates = Selection(own[6]["selection"]).to_gates(space.blocks)
    assert run.judge(space, gates) == errors[6]
    last = found.history[-1]
    assert (alone.history[-1]["loss"], alone.valid_loss) == (last["loss"], last["valid_loss"])


def test_step_sizes_are_those_of_a_whole_training(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def schedule(epoch: int, epochs: int) -> float:
        seen.append((epoch, epochs))
        return 1.0

    searched(replace(judged(job(8, 4)), schedule=schedule))
    assert seen == [(0, 4)] * 4 + [(1, 4)] * 2 + [(2, 4), (3, 4)]


@pytest.mark.parametrize("epochs", [4, 5, 7, 8, 9, 11, 13, 16])
def test_the_steps_are_those_of_the_budget(epochs: int) -> None:
    """A budget that ends in a bracket cuts its last training short."""
    found = searched(judged(job(epochs, 1)))
    assert found.epochs == epochs and found.steps == 2 * epochs
    found = searched(judged(job(epochs, 4)))
    budget = epochs // 4 * 4  # as every other sampler: whole trainings
    assert found.epochs == budget and found.steps == 2 * budget
    assert found.history[-1]["steps"] == found.steps


def test_no_more_is_kept_than_may_go_on() -> None:
    kept: list[int] = []

    class Looks(NoCheckpoint):
        def offer(self, state: Callable[[], dict[str, Any]]) -> None:
            whole = state()
            if whole["inner"] is None:
                kept.append(len(whole["ends"]))

    run = judged(job(8, 4))
    run.run("successive-halving", NullTracker(), Looks(), lambda *_: None)
    assert kept == [1, 2, 2, 2, 2, 1, 0]


@pytest.mark.parametrize("kill", [1, 3, 8, 9, 10, 12, 13, 15])
def test_a_resumed_search_is_the_uninterrupted_one(kill: int) -> None:
    run = job(8, 4)

    def whole(checkpointer: Any = None) -> SearchResult:
        keeps = checkpointer or NoCheckpoint()
        return run.run("successive-halving", NullTracker(), keeps, lambda *_: None)

    if kill == 1:
        _alike(whole(), whole(), "a repeated search")
    _alike(whole(), killed_and_resumed(whole, kill), f"a search resumed from {kill}")


def test_what_diverges_does_not_end_the_bracket() -> None:
    run = job(8, 4)

    def judge(space: Any, gates: Gates) -> float:
        total = sum(map(sum, gates.choices().values()))
        return float("nan") if total % 2 else float(total)

    found = searched(replace(run, judge=judge))
    assert found.epochs == 8


def test_seconds_are_a_budget_too() -> None:
    run = toy_run("space=primitives", "search.steps=null", "search.candidate_epochs=9")
    update = {"steps": None, "seconds": 0.6, "epochs": 1000}
    timed = replace(run, section=run.section.model_copy(update=update))
    found = searched(timed)
    assert 0 < found.cpu_seconds < 1.2
    lengths = [entry["candidate"]["epochs"] for entry in found.history]
    assert lengths[:9] == [1] * len(lengths[:9]) and set(lengths) <= {1, 3, 9}


def test_a_space_of_five_gives_the_rest_to_the_best() -> None:
    run = toy_run("space=sif", "objective=rating", "search.steps=null", "search.epochs=20",
                  "search.candidate_epochs=2", "methods.successive-halving.eta=2",
                  "methods.successive-halving.rungs=2")  # fmt: skip
    found = searched(run)
    assert found.epochs == 20
    lengths = [entry["candidate"]["epochs"] for entry in found.history]
    assert lengths[:7] == [1] * 5 + [2] * 2
    assert found.diagnostics["arch_steps"] == 5
    assert 0 <= found.diagnostics["stability"] <= 1


@pytest.mark.parametrize("epochs", [8, 13, 20])
def test_trainings_side_by_side_are_those_of_one_after_the_other(
    epochs: int, elsewhere: Callable[[int], Any]
) -> None:
    run, calls = job(epochs, 4), elsewhere(3)
    beside = replace(run, runtime=replace(run.runtime, calls=calls))
    _alike(searched(run), searched(beside), "a search whose rungs are trained side by side")
    assert calls.started[:6] == [
        "candidate 1", "candidate 2", "candidate 3", "candidate 4",
        *calls.started[4:6],
    ]  # fmt: skip
    assert [name.endswith("further") for name in calls.started[4:7]] == [True] * 3
    assert calls.cancelled == []


@pytest.mark.parametrize("count", [0, 1, 5, 9, 10, 12, 13, 17])
@pytest.mark.parametrize("proposals", ["random", "tpe"])
def test_what_is_ahead_is_the_rest_of_the_rung(count: int, proposals: str) -> None:
    if proposals == "tpe":
        pytest.importorskip("optuna")
    sampler, table = halving(SPACE, 2, proposals=proposals), planted(0)
    for _ in range(count):
        selection = sampler.ask()
        assert selection is not None
        sampler.tell(selection, table(selection, 1.0), 0.0)
    ahead, length = list(sampler.ahead(20)), sampler.share()
    rest = {0: 9, 1: 8, 5: 4, 9: 3, 10: 2, 12: 1, 13: 9, 17: 5}[count]
    learns = proposals == "tpe" and length < 0.2
    assert len(ahead) == (1 if learns else rest)
    for selection in ahead:
        assert sampler.ask() == selection and sampler.share() == length
        sampler.tell(selection, table(selection, 1.0), 0.0)
