"""The loop of samplers on a small planted function."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sif.config import CFConfig, load_config
from sif.core.gates import Gates, Selection
from sif.core.space import Space
from sif.errors import ConfigError, DivergedError
from sif.methods.fixed import fixed
from sif.methods.kind import MethodKind
from sif.methods.sampler import WORST, Sampler
from sif.search.candidates import REPEATS
from sif.search.loop import SearchResult, search
from sif.search.run import MethodRun
from sif.tasks.cf import inputs
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime


def job(*sets: str) -> MethodRun:
    planted = ("data.planted.users=20", "data.planted.items=15", "data.planted.density=0.3")
    sets = ("space=sif", "objective=rating", *planted, "search.dimension=3",
            "search.batch_size=40", "search.arch_every=1", *sets)  # fmt: skip
    config = load_config("cf", sets=sets)
    assert isinstance(config, CFConfig)
    return inputs.prepare(config, make_runtime("cpu", 0, threads=1)).problem.method_run()


def chosen(operation: int) -> Selection:
    return Selection({"operation": [operation]})


class Listed(Sampler):
    """Asks for operations in the order that it is given."""

    rows: tuple[int, ...] = ()

    def _restart(self) -> None:
        pass

    def _next(self) -> Selection | None:
        done = len(self.results)
        return chosen(self.rows[done]) if done < len(self.rows) else None


def listed(run: MethodRun, *rows: int) -> tuple[SearchResult, Listed]:
    """The search over operations 0 to 4 by their numbers, and its sampler."""
    made: list[Listed] = []

    def make(space: Space, *_: Any) -> Listed:
        made.append(Listed(space, 0))
        made[-1].rows = rows
        return made[-1]

    kind = MethodKind(make, samples=True, ends=True)
    found = run.run("listed", NullTracker(), NoCheckpoint(), lambda *_: None, kind)
    return found, made[-1]


def judged(run: MethodRun, errors: dict[int, float]) -> MethodRun:
    """The job with given errors of the operations."""

    def judge(space: Any, gates: Gates) -> float:
        return errors[gates.choices()["operation"][0]]

    return replace(run, judge=judge)


def test_the_result_is_the_best_candidate_as_a_search_of_its_own_trains_it() -> None:
    run = job("search.candidate_epochs=3")
    found, sampler = listed(run, 0, 1, 2, 3, 4)
    errors = [told.error for told in sampler.results]
    best = errors.index(min(errors))
    space = run.make_space(False)
    gates = chosen(best).to_gates(space.blocks)
    method = fixed(space, chosen(best), run.continuous_lr)
    alone = search(space, method, *run.streams(), run._loop(3), NullTracker(), NoCheckpoint())
    assert found.genotype == alone.genotype
    assert found.genotype.parameters  # P and Q, as they were learned
    assert found.genotype != run.make_space(False).genotype(gates)
    assert found.valid_loss == alone.valid_loss
    assert found.history[-1]["judged"] == {run.judged: min(errors)}
    assert run.judge(space, gates) == min(errors)
    steps = 3 * run.streams()[0].steps_per_pass
    assert [entry["steps"] for entry in found.history] == [steps * n for n in range(1, 6)]
    assert (found.steps, found.epochs) == (5 * steps, 15)
    assert found.trained["operation"].tolist() == [[steps] * 5]


def test_entries_have_the_best_so_far_and_the_candidate() -> None:
    run = judged(job("search.candidate_epochs=1"), {0: 3.0, 1: 1.0, 2: 2.0, 3: 1.0})
    found, _ = listed(run, 0, 1, 2, 3)
    best = [entry["selection"]["operation"] for entry in found.history]
    assert best == [[0], [1], [1], [1]]
    assert [e["judged"][run.judged] for e in found.history] == [3.0, 1.0, 1.0, 1.0]
    own = [entry["candidate"] for entry in found.history]
    assert [c["selection"]["operation"] for c in own] == [[0], [1], [2], [3]]
    assert [c["judged"][run.judged] for c in own] == [3.0, 1.0, 2.0, 1.0]
    blocks = run.make_space(False).blocks
    assert [c["cost"] for c in own] == [chosen(k).cost(blocks) for k in range(4)]
    counts = found.diagnostics
    assert (counts["arch_steps"], counts["flips"], counts["ties"]) == (4, 1, 1)
    assert (counts["margin"], counts["stability"]) == (0.0, 0.75)


def test_a_candidate_that_diverges_is_as_bad_as_can_be() -> None:
    run = judged(job("search.candidate_epochs=1"), {0: math.nan, 1: 2.0, 2: math.inf})
    found, sampler = listed(run, 0, 1, 2)
    assert [told.error for told in sampler.results] == [WORST, 2.0, WORST]
    assert len(found.history) == 1
    with pytest.raises(DivergedError, match="diverged in all of 2 candidates"):
        listed(run, 0, 2)


def test_a_training_that_diverges_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def dies(*arguments: Any) -> SearchResult:
        calls.append(arguments)
        if len(calls) == 1:
            raise DivergedError("too steep")
        return search(*arguments)

    monkeypatch.setattr("sif.search.candidate.search", dies)
    found, sampler = listed(job("search.candidate_epochs=1"), 0, 1)
    assert sampler.results[0].error == WORST
    assert found.history[0]["candidate"]["selection"]["operation"] == [1]


def test_what_is_known_is_told_without_training_it_again() -> None:
    run = job("search.candidate_epochs=1")
    steps = run.streams()[0].steps_per_pass
    found, sampler = listed(run, 0, 1, 0, 0, 2)
    assert found.steps == 3 * steps
    assert sampler.results[2].error == sampler.results[3].error == sampler.results[0].error
    again, sampler = listed(run, 1, *[0] * (REPEATS + 50))
    assert again.steps == 2 * steps
    assert len(sampler.results) == 2 + REPEATS


@pytest.mark.parametrize(
    ("sets", "trained"),
    [(("search.steps=50", "search.candidate_epochs=2"), lambda per: 50 // (2 * per)),
     (("search.epochs=7", "search.candidate_epochs=2"), lambda per: 3),
     (("search.epochs=40",), lambda per: 10)],
)  # fmt: skip
def test_a_budget_says_how_many_candidates_there_are(
    sets: tuple[str, ...], trained: Callable[[int], int]
) -> None:
    run = job("space=primitives", *sets)
    found = run.run("random", NullTracker(), NoCheckpoint(), lambda *_: None)
    assert len(found.history) == trained(run.streams()[0].steps_per_pass)


def test_exhaustive_needs_no_budget() -> None:
    run = job("search.epochs=2", "search.candidate_epochs=1")
    found = run.run("exhaustive", NullTracker(), NoCheckpoint(), lambda *_: None)
    tried = {entry["candidate"]["selection"]["operation"][0] for entry in found.history}
    assert tried == set(range(5)) and len(found.history) == 5


class Killed(Exception):
    """In place of a signal."""


class Dies(NoCheckpoint):
    """Keeps every state, and dies at one of them; what it kept is where the next one begins."""

    def __init__(self, at: int, saved: Any = None) -> None:
        self.left, self.saved = at, saved

    def restore(self) -> Any:
        return copy.deepcopy(self.saved)

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        self.saved, self.left = copy.deepcopy(state()), self.left - 1
        if not self.left:
            raise Killed


def test_what_a_used_up_space_leaves_trains_the_best_further() -> None:
    falling = itertools.count(1.0, -0.0625)
    run = job("search.epochs=17", "search.candidate_epochs=2")
    run = replace(run, judge=lambda space, gates: next(falling))
    found = run.run("random", NullTracker(), NoCheckpoint(), lambda *_: None)
    per = run.streams()[0].steps_per_pass
    assert (found.epochs, found.steps) == (16, 16 * per)  # 5 candidates, 3 stretches, no half
    own = [entry["candidate"] for entry in found.history]
    assert [c["epochs"] for c in own] == [2] * 5 + [4, 6, 8]
    assert [entry["steps"] for entry in found.history] == [2 * per * n for n in range(1, 9)]
    assert [c["selection"] for c in own[4:]] == [own[4]["selection"]] * 4
    assert found.trained["operation"].sum() == 16 * per
    assert found.diagnostics["arch_steps"] == 5

    # As one training of that many epochs, P and Q included.
    space = run.make_space(False)
    method = fixed(space, Selection(own[4]["selection"]), run.continuous_lr)
    alone = search(space, method, *run.streams(), run._loop(8), NullTracker(), NoCheckpoint())
    assert found.genotype == alone.genotype
    assert found.valid_loss == alone.valid_loss


@pytest.mark.parametrize("at", [9, 15, 16, 17, 18, 19])
def test_training_the_best_further_resumes_exactly(at: int) -> None:
    run = job("search.epochs=16", "search.candidate_epochs=2")
    whole = run.run("random", NullTracker(), NoCheckpoint(), lambda *_: None)
    first = Dies(at)
    with pytest.raises(Killed):
        run.run("random", NullTracker(), first, lambda *_: None)
    found = run.run("random", NullTracker(), Dies(0, first.saved), lambda *_: None)
    assert found.genotype == whole.genotype
    assert (found.epochs, found.steps) == (whole.epochs, whole.steps)
    for one, other in zip(found.history, whole.history, strict=True):
        assert one["candidate"] == other["candidate"] and one["loss"] == other["loss"]


def test_a_method_that_repeats_itself_leaves_the_rest_to_the_best() -> None:
    pytest.importorskip("optuna")
    run = job("search.epochs=7", "search.candidate_epochs=1")
    found = run.run("tpe", NullTracker(), NoCheckpoint(), lambda *_: None)
    assert found.epochs == 7
    assert [entry["candidate"]["epochs"] for entry in found.history] == [1] * 5 + [2, 3]


def test_a_further_stretch_that_is_worse_or_diverges_leaves_the_best_as_it_was() -> None:
    run = job("search.epochs=10", "search.candidate_epochs=1")
    errors = iter([3.0, 1.0, 2.0, 4.0, 5.0, 1.5, 0.5, math.nan, 0.1])
    run = replace(run, judge=lambda space, gates: next(errors))
    found = run.run("random", NullTracker(), NoCheckpoint(), lambda *_: None)
    so_far = [entry["judged"][run.judged] for entry in found.history]
    assert so_far == [3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]
    assert found.epochs == 8
    assert found.diagnostics["margin"] == 1.5
    assert (found.diagnostics["flips"], found.diagnostics["stability"]) == (1, 0.8)


def test_seconds_are_used_where_the_space_is_used_up() -> None:
    run = job("search.seconds=0.6", "search.candidate_epochs=1")
    found = run.run("random", NullTracker(), NoCheckpoint(), lambda *_: None)
    assert len(found.history) > 5
    assert 0.4 < found.cpu_seconds < 0.9


def test_seconds_that_end_in_the_first_candidate_are_refused() -> None:
    run = job("search.seconds=0.05", "search.candidate_epochs=5000")
    with pytest.raises(ConfigError, match=r"search\.seconds: expected enough for one candidate"):
        run.run("random", NullTracker(), NoCheckpoint(), lambda *_: None)


def test_judging_every_epoch_changes_nothing_but_the_record() -> None:
    plain, told = (
        job("search.epochs=6", f"search.validate_every_epoch={judge}").run(
            "nasp", NullTracker(), NoCheckpoint(), lambda *_: None
        )
        for judge in ("false", "true")
    )
    assert plain.genotype == told.genotype
    assert all(entry["judged"] == {} for entry in plain.history)
    assert all(0 < entry["judged"]["exported_error"] < 10 for entry in told.history)


def told(sampler_history: list[dict[str, Any]]) -> list[Any]:
    return [{k: v for k, v in e.items() if "seconds" not in k} for e in sampler_history]


@pytest.mark.parametrize(
    ("method", "sets"),
    [("random", ("space=primitives", "search.epochs=9")),
     ("random", ("search.epochs=9",)),  # five selections, then the best goes on
     ("exhaustive", ("search.epochs=9",)),
     ("nsga2", ("space=primitives", "search.epochs=9", "methods.nsga2.population=4")),
     ("regularized-evolution", ("space=primitives", "search.epochs=18")),
     ("local-search", ("space=primitives", "search.epochs=9")),
     ("pnas", ("space=primitives", "search.epochs=12", "methods.pnas.beam=4")),
     ("tpe", ("space=primitives", "search.epochs=4"))],
)  # fmt: skip
def test_candidates_side_by_side_are_those_of_one_after_the_other(
    method: str, sets: tuple[str, ...], elsewhere: Any
) -> None:
    for library in {"nsga2": ["pymoo"], "tpe": ["optuna"]}.get(method, []):
        pytest.importorskip(library)
    run = job("search.candidate_epochs=1", *sets)
    plain = run.run(method, NullTracker(), NoCheckpoint(), lambda *_: None)
    calls = elsewhere(3)
    beside = replace(run, runtime=replace(run.runtime, calls=calls))
    found = beside.run(method, NullTracker(), NoCheckpoint(), lambda *_: None)
    assert told(found.history) == told(plain.history)
    assert (found.genotype, found.steps, found.epochs) == (
        plain.genotype, plain.steps, plain.epochs
    )  # fmt: skip
    assert found.trained.keys() == plain.trained.keys()
    assert all(found.trained[name].equal(counts) for name, counts in plain.trained.items())
    candidates = found.diagnostics["arch_steps"]
    if method == "tpe":  # which learns from each
        assert calls.started == []
    else:
        assert calls.started == [f"candidate {n}" for n in range(1, candidates + 1)]
        assert calls.puts == 1
    assert calls.cancelled == []


def test_one_place_is_none_beside_this_process(elsewhere: Any) -> None:
    calls = elsewhere(1)
    run = job("search.epochs=2", "search.candidate_epochs=1")
    run = replace(run, runtime=replace(run.runtime, calls=calls))
    run.run("random", NullTracker(), NoCheckpoint(), lambda *_: None)
    assert calls.started == []


def test_time_that_is_over_ends_what_was_begun_ahead(elsewhere: Any) -> None:
    """The first candidate has no limit; the second is asked for, and there is no time for it."""
    calls = elsewhere(2)
    run = job("space=primitives", "search.epochs=20", "search.candidate_epochs=1")
    runtime = replace(run.runtime, calls=calls, out_of_time=lambda: True)
    found = replace(run, runtime=runtime).run(
        "random", NullTracker(), NoCheckpoint(), lambda *_: None
    )
    assert len(found.history) == 1
    assert len(calls.started) == 4  # twice the places
    assert calls.cancelled == [f"candidate {n}" for n in range(2, 5)]


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_search_of_one_process_goes_on_side_by_side(at: int, elsewhere: Any) -> None:
    run = job("space=primitives", "search.epochs=6", "search.candidate_epochs=2")
    whole = run.run("random", NullTracker(), NoCheckpoint(), lambda *_: None)
    first = Dies(at)
    with pytest.raises(Killed):
        run.run("random", NullTracker(), first, lambda *_: None)
    beside = replace(run, runtime=replace(run.runtime, calls=elsewhere(2)))
    found = beside.run("random", NullTracker(), Dies(0, first.saved), lambda *_: None)
    assert told(found.history) == told(whole.history)
    assert found.genotype == whole.genotype
