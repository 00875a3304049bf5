"""The finish of searches: budgets, resuming, and a planted case whose last selection is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sif import testing as contracts
from sif.core.gates import Gates, Selection
from sif.core.method import ArchReport
from sif.errors import ConfigError
from sif.methods.kind import MethodKind
from sif.methods.nasp import Nasp
from sif.methods.registry import METHODS
from sif.methods.successive_halving import SuccessiveHalvingSettings
from sif.search.finish import bracket
from sif.search.run import MethodRun
from sif.testing import Trial, toy_run
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint

SHARING = [name for name, kind in METHODS.items() if not kind.samples]
FINISH = (
    "search.finish.share=0.5", "search.finish.candidates=3", "search.steps=12",
    "methods.successive-halving.rungs=2", "methods.successive-halving.eta=2",
)  # fmt: skip
"""Three selections train for a step, and one of them for another: 4 of 12 steps."""


KILLS = {"nasp": (2, 5, 6, 7, 12)}
"""Saved states: of the search up to 4, of the beginning of the finish, then two per training."""


def finishing(*sets: str) -> MethodRun:
    return toy_run("space=primitives", *FINISH, *sets)


def trained(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in history if "candidate" in entry]


@pytest.mark.parametrize("method", SHARING)
def test_a_search_with_a_finish_keeps_the_promises_of_methods(method: str) -> None:
    """Killed in the first training of the finish; nasp everywhere, see `KILLS`."""
    trial = Trial(method, finishing())
    trial.run.check(method)
    found = contracts.check_method(trial, kills=KILLS.get(method, (6,)))
    assert found.steps == 12
    alone = trained(found.history)
    assert [entry["candidate"]["epochs"] for entry in alone] == [1, 1, 1, 2]
    assert [entry["steps"] for entry in alone] == [9, 10, 11, 12]
    first = {str(entry["candidate"]["selection"]) for entry in alone[:3]}
    assert len(first) == 3
    assert found.diagnostics["finished"] == 3
    for clock in ("seconds", "cpu_seconds"):
        times = [entry[clock] for entry in found.history]
        assert times == sorted(times)
        assert times[-1] == pytest.approx(getattr(found, clock))


SPACES: dict[str, Callable[[], MethodRun]] = {
    "sif": lambda: toy_run("space=sif", "objective=rating", *FINISH),
    "staged": lambda: toy_run(
        "space=staged", *FINISH, "methods.nasp.arch_start=0.1", "methods.nasp.warmup=0.5"
    ),
}


@pytest.mark.parametrize("space", SPACES)
def test_every_space_of_functions_takes_a_finish(space: str) -> None:
    trial = Trial("nasp", SPACES[space]())
    found = contracts.check_method(trial, kills=(6,))
    assert found.steps == 12 and len(trained(found.history)) == 4


def planted(run: MethodRun, best: Selection) -> MethodRun:
    """The same with a judge that knows the best selection, and nothing of weights."""

    def judge(space: Any, gates: Gates) -> float:
        return 0.1 if gates.choices() == best else 0.9

    return replace(run, judge=judge)


class Misled(Nasp):
    """Is told to move to the right selection at first, and away from it before the end."""

    def arch_step(self, space: Any, train: Any, valid: Any) -> ArchReport:
        wanted = self.towards[self._arch_steps >= 4]
        score = {name: -table for name, table in wanted.to_gates(self._blocks).weights.items()}
        self._proximal_step(score, self._gates)
        return ArchReport(0.5)

    @property
    def towards(self) -> list[Selection]:
        return [Selection({b.name: (k,) * len(b.nodes) for b in self._blocks}) for k in (1, 2)]


def test_a_finish_finds_what_the_search_has_left() -> None:
    """The last selection is wrong; one that the search had before it is right."""
    made: list[Misled] = []

    def make(space: Any, settings: Any, plan: Any, draws: Any) -> Misled:
        made.append(Misled(space, settings, plan, draws))
        return made[-1]

    kind = MethodKind(make, Nasp.Settings, own_weights=True)
    moves = ("methods.nasp.arch_lr=1", "methods.nasp.arch_optimizer=plain",
             "methods.nasp.warmup=0", "methods.nasp.arch_start=0")  # fmt: skip

    def found(*sets: str) -> Selection:
        run = finishing(*moves, *sets)
        blocks = run.make_space(False).blocks
        best = Selection({b.name: (1,) * len(b.nodes) for b in blocks})
        result = planted(run, best).run("nasp", NullTracker(), NoCheckpoint(), quiet, kind)
        return Selection(result.history[-1]["selection"])

    last = found("search.finish.share=0")
    assert last == made[-1].towards[1]
    assert found() == made[-1].towards[0]
    assert made[-1].best_gates().choices() == last


def quiet(epoch: int, entry: Any) -> None:
    pass


def test_trainings_of_a_finish_are_those_of_a_search_of_its_own() -> None:
    """A selection that trains to the end has the error of its own training of that length."""
    run = finishing()
    found = Trial("nasp", run).search()
    last = trained(found.history)[-1]["candidate"]

    class Only(Nasp):
        def proposals(self, most: int) -> list[Selection]:
            return [Selection(last["selection"])]

    kind = MethodKind(Only, Nasp.Settings, own_weights=True)
    again = run.run("nasp", NullTracker(), NoCheckpoint(), quiet, kind)
    same = [
        entry["candidate"]["judged"]
        for entry in trained(again.history)
        if entry["candidate"]["selection"] == last["selection"]
    ]
    first = next(
        entry["candidate"]["judged"]
        for entry in trained(found.history)
        if entry["candidate"]["selection"] == last["selection"]
    )
    assert same[0] == first


@given(
    st.integers(2, 12), st.integers(2, 4), st.integers(1, 4), st.integers(0, 400)
)  # fmt: skip
def test_brackets_fit_and_are_as_long_as_can_be(n: int, eta: int, rungs: int, steps: int) -> None:
    asked = SuccessiveHalvingSettings(candidates=n, eta=eta, rungs=rungs)
    planned = bracket(asked, steps)
    if planned is None:
        assert steps < asked.model_copy(update={"candidates": 2}).bracket_length
        return
    assert planned.steps <= steps < planned.steps + planned.units
    if planned.settings.candidates < n:
        more = planned.settings.candidates + 1
        assert steps < asked.model_copy(update={"candidates": more}).bracket_length
    sizes, lengths = planned.settings.sizes(), [eta**rung for rung in range(rungs)]
    survivors = [*sizes[1:], 0]
    by_hand = sum(
        length * (size - after)
        for size, after, length in zip(sizes, survivors, lengths, strict=True)
    )
    assert planned.units == by_hand  # whoever ends in a rung had its length in all


def test_nine_three_and_one_take_twenty_one_units() -> None:
    planned = bracket(SuccessiveHalvingSettings(), 100)
    assert planned is not None
    assert (planned.units, planned.unit, planned.whole) == (9 + 3 * 2 + 6, 4, 9)


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (("search.steps=5",), "expected at least 3 weight steps, .* found 0.5 of search.steps 5"),
        (("search.finish.share=0.1",), ".* found 0.1 of search.steps 12: 1 steps"),
    ],
)
def test_a_share_that_is_too_small_is_refused_in_one_line(sets: tuple[str, ...], told: str) -> None:
    run = finishing(*sets)
    for refuses in (lambda: run.check("nasp"), lambda: Trial("nasp", run).search()):
        with pytest.raises(ConfigError, match=r"search\.finish\.share: " + told) as error:
            refuses()
        assert "\n" not in str(error.value)
    assert not run.moves("nasp")
    run.check("random")  # samplers have no finish


def by_epochs(**update: Any) -> MethodRun:
    run = finishing()
    return replace(run, section=run.section.model_copy(update={"steps": None, **update}))


def test_epochs_are_shared_out() -> None:
    run = by_epochs(epochs=10)  # 20 steps, 10 of them a bracket of 4 units of two steps
    found = Trial("nasp", run).search()
    assert len(found.history) == 6 + 4
    assert found.steps == 12 + 8
    assert found.epochs == 10
    assert run.moves("nasp") and not by_epochs(epochs=1).moves("nasp")


def test_a_finish_stays_within_the_seconds() -> None:
    found = Trial("nasp", by_epochs(seconds=1.0, epochs=1000)).search()
    assert 0.5 < found.cpu_seconds < 1.5
    alone = trained(found.history)
    assert [entry["candidate"]["epochs"] for entry in alone][:3] == [1, 1, 1]


def test_a_search_that_leaves_no_time_for_a_finish_keeps_its_own_selection() -> None:
    run = by_epochs(seconds=0.5, epochs=1000)

    def slow(space: Any, gates: Gates) -> float:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        return 1.0

    found = Trial("nasp", replace(run, judge=slow)).search()
    assert found.diagnostics["finished"] == 0 and not trained(found.history)


def test_plans_count_both_parts() -> None:
    run = by_epochs(epochs=10)
    forecast = run.forecast("nasp", 0.2)
    assert forecast.epoch > 0 and forecast.end > 0
    cost = run.epochs_cost("nasp", 100.0)
    without = replace(
        run, section=run.section.model_copy(update={"finish": type(run.section.finish)()})
    )
    assert 0 < cost < 1.5 * without.epochs_cost("nasp", 100.0)


def test_illegal_proposals_are_refused_in_one_line() -> None:
    class Careless(Nasp):
        def proposals(self, most: int) -> list[Selection]:
            return [Selection({"operation": (0, 0, 0)})]

    kind = MethodKind(Careless, Nasp.Settings, own_weights=True)
    with pytest.raises(ConfigError, match="method Careless: block 'operation': expected"):
        finishing().run("nasp", NullTracker(), NoCheckpoint(), quiet, kind)


def test_a_space_of_one_selection_has_no_finish() -> None:
    run = finishing()
    kept = {b.name: list(b.operations[:1]) for b in run.make_space(False).blocks}
    names = [f"search.choices.{name}={ones}" for name, ones in kept.items()]
    found = Trial("nasp", finishing(*names)).search()
    assert not trained(found.history) and found.steps == 12


def test_samplers_have_no_finish() -> None:
    found = Trial("random", finishing()).search()
    plain = Trial("random", finishing("search.finish.share=0")).search()
    assert found.genotype == plain.genotype and found.steps == plain.steps
