"""What a fit serves, and that its report claims no more than there was."""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from sif.errors import BudgetError
from sif.problems.baseline_fits import BaselineFits
from sif.problems.budget import TimeBudget
from sif.problems.interactions import InteractionProblem
from sif.recommender import fit
from sif.recommender.recommender import Recommender
from sif.recommender.report import part_of
from sif.recommender.search_function import search_function
from sif.search.loop import SearchResult

Board = Callable[..., pd.DataFrame]
STAGES = ["encoding", "operation", "weighting"]
FUNCTIONS: dict[str, Any] = {"search": {"stages": STAGES}}
QUICK: dict[str, Any] = {
    "train": {"epochs": 60, "patience": 60, "dimension": 8, "l2": [0.003], "lr": 0.05},
    "search": {"epochs": 3, "dimension": 4, "stages": STAGES},
}
"""A search of so few steps that alpha stays where it is."""


def quick(**arguments: Any) -> Recommender:
    return Recommender(threads=1, settings=QUICK, **arguments)


def finds(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    """Searches find an operation of the bare vectors."""
    search = InteractionProblem.search

    def found(problem: InteractionProblem, *rest: Any) -> SearchResult:
        result = search(problem, *rest)
        blocks = {**result.genotype.blocks, "operation": ((0, operation),)}
        genotype = dataclasses.replace(result.genotype, blocks=blocks)
        return dataclasses.replace(result, genotype=genotype, at_rest="")

    monkeypatch.setattr(InteractionProblem, "search", found)


def test_fixed_multiply_is_served_where_validation_prefers_it(
    checkerboard: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds(monkeypatch, "plus")  # which orders the items alike for all users
    model = quick(baselines=[]).fit(checkerboard(40, 20))
    report = model.report()
    assert (report.served, model.model_.expression) == ("fixed-multiply", "multiply(user, item)")
    assert report.found == model.searched_function_ == "plus(user, item)"
    assert "found: plus(user, item) in " in repr(report)
    assert "of search, and validation prefers another" in repr(report)
    # Fixed multiply is no baseline of itself, and the searched function is none.
    assert (report.against, report.comparison) == (None, None)
    assert report.verdict == (
        "no verdict: multiply(user, item) is fixed multiply, and nothing else was trained to "
        "compare with"
    )
    assert len(model.recommend("u1", n=3)) == 3


def test_without_baselines_fixed_multiply_is_what_another_function_must_beat(
    checkerboard: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds(monkeypatch, "max")
    monkeypatch.setattr(InteractionProblem, "prefers", lambda *_: False)
    report = quick(objective="rating", baselines=[]).fit(checkerboard(40, 20, rated=True)).report()
    assert (report.served, report.against) == ("searched", "fixed-multiply")
    assert "than fixed-multiply on validation" in report.verdict
    assert "rmse" in report.to_frame().columns


def test_a_closed_form_is_served_where_validation_prefers_it(
    checkerboard: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions that are hardly trained lose to it."""
    stages = ["closed", *STAGES]
    search = {"epochs": 3, "dimension": 4, "stages": stages}
    settings = {**QUICK, "search": search, "train": {"epochs": 1}}
    model = Recommender(baselines=["popularity"], threads=1, settings=settings)
    report = model.fit(checkerboard(40, 20)).report()
    names = {row.model for row in report.rows}
    assert names == {"searched", "fixed-multiply", "closed", "popularity"}
    assert report.served == "closed" and report.against == "popularity"
    (row,) = [row for row in report.rows if row.model == "closed"]
    assert model.model_.expression == row.parameters
    assert f"and validation prefers {row.parameters}" in repr(report)
    assert model.model_.fitted_on == "all" and "last fit: after these" in repr(report)
    assert len(model.recommend(checkerboard(40, 20).user[0], n=3)) == 3
    # Without any time it is left out, and the report says so.
    monkeypatch.setattr(TimeBudget, "left", property(lambda self: 0.0))
    asked = {"search": {"stages": stages}}
    late = Recommender(budget=1, baselines=[], threads=1, settings=asked)
    late = late.fit(checkerboard(40, 20)).report()
    assert "left out: closed: expected time for it, found none left" in repr(late)


def test_a_search_that_did_not_move_is_told_and_compared_with_others_only(
    checkerboard: Board, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "sif"):
        report = quick(baselines=["popularity"]).fit(checkerboard(40, 20)).report()
    told = "the search did not move from multiply(user, item) (search.epochs: expected at least"
    assert told in repr(report) and "found:" not in repr(report)
    assert "the search did not move: search.epochs" in caplog.text
    assert report.against == "popularity"
    alone = quick(baselines=[]).fit(checkerboard(40, 20)).report()
    assert alone.against is None and "is fixed multiply" in alone.verdict


def test_a_search_alone_that_did_not_move_warns(
    checkerboard: Board, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "sif"):
        found = search_function(checkerboard(40, 20), threads=1, settings=QUICK)
    assert found.expression == "multiply(user, item)"
    assert "the search did not move: search.epochs: expected at least" in caplog.text


def test_a_fit_without_a_search_claims_none(
    checkerboard: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: Any) -> Any:
        raise BudgetError("search: expected time, found none left")

    monkeypatch.setattr(fit, "_within", late)
    model = Recommender(budget=2, baselines=["popularity"], threads=1, settings=FUNCTIONS).fit(
        checkerboard(40, 20)
    )
    report = model.report()
    assert {row.model for row in report.rows} == {"fixed-multiply", "popularity"}
    assert report.found == model.searched_function_ == ""
    assert (report.served, report.against) == ("fixed-multiply", "popularity")
    said = repr(report)
    assert "no search: no time (budget: 2 s leave too little for a search: expected time" in said
    assert "fixed multiply is served" in said and "searched" not in said


def test_a_baseline_with_a_part_of_its_grid_says_so(
    checkerboard: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = BaselineFits.tuned

    def starved(fits: BaselineFits, name: str) -> Any:
        return tuned(replace(fits, runtime=replace(fits.runtime, out_of_time=lambda: True)), name)

    monkeypatch.setattr(BaselineFits, "tuned", starved)
    report = quick(baselines=["ease", "popularity"]).fit(checkerboard(40, 20)).report()
    frame = report.to_frame().set_index("model")
    assert frame.loc["ease", "tried"].startswith("1 of ")
    assert frame.loc["popularity", "tried"] == frame.loc["searched", "tried"] == "all"
    assert f"ease ({frame.loc['ease', 'tried']}) " in repr(report)
    if report.against == "ease":
        assert "ease (1 of " in report.verdict


def test_what_was_left_out_stands_in_the_report(
    checkerboard: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "BASELINE_SHARE", 0.0)
    model = Recommender(budget=2, baselines=["ease"], threads=1).fit(checkerboard(40, 20))
    assert "left out: baseline ease: no time" in repr(model.report())
    assert "left out" in model.report()._repr_html_()


def test_parts_of_a_grid() -> None:
    assert (part_of(1, 5, "settings"), part_of(5, 5, "epochs")) == ("1 of 5 settings", "")


class Clock:
    """Tells what it is set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Costly:
    """A problem whose search never ends by its epochs."""

    def __init__(self, seconds: float | None = None, error: str = "", rest: str = "") -> None:
        section = type("Section", (), {"steps": None, "seconds": seconds})
        self.config = type("Config", (), {"search": section, "method": "nasp"})
        self.error, self.rest = error, rest

    def method_run(self) -> Costly:
        return self

    def epochs_cost(self, method: str, seconds: float) -> float:
        return float("inf")

    def at(self, seconds: float) -> Costly:
        return Costly(seconds, self.error, self.rest)

    def search(self, *_: Any) -> Any:
        if self.error:
            raise BudgetError(self.error)
        result = SearchResult(None, 0.0, {}, {}, [], 0.0, 1, 1, at_rest=self.rest)  # type: ignore[arg-type]
        return dataclasses.replace(result, cpu_seconds=self.config.search.seconds)


def budget(cpu_per_second: float) -> TimeBudget:
    """100 seconds, of which 10 are over."""
    clock, cpu = Clock(), Clock()
    found = TimeBudget(100.0, clock, cpu)
    clock.now, cpu.now = 10.0, 10.0 * cpu_per_second
    return found


def test_a_search_gets_the_cpu_seconds_of_all_its_threads() -> None:
    for parallel in (0.5, 1.0, 3.0):
        found = fit.searched(Costly(), budget(parallel), share=0.4)  # type: ignore[arg-type]
        assert found.cpu_seconds == pytest.approx(0.4 * (90 - 5) * parallel)
    found = fit.searched(Costly(7.0), budget(1.0))  # type: ignore[arg-type]
    assert found.cpu_seconds == 7.0  # a setting of the caller's


def test_a_lack_of_time_names_the_limit_that_the_caller_gave() -> None:
    error = "search.seconds: expected more than 3 CPU seconds, found 1"
    told = "budget: 100 s leave too little for a search: expected more than 3 CPU seconds, found 1"
    with pytest.raises(BudgetError) as caught:
        fit.searched(Costly(error=error), budget(1.0))  # type: ignore[arg-type]
    assert str(caught.value) == told
    with pytest.raises(BudgetError) as caught:
        fit.searched(Costly(7.0, error=error), budget(1.0))  # type: ignore[arg-type]
    assert str(caught.value) == error
    found = fit.searched(Costly(rest=error), budget(1.0))  # type: ignore[arg-type]
    assert found.at_rest == told


def test_a_search_alone_under_a_budget_names_the_budget(checkerboard: Board) -> None:
    with pytest.raises(BudgetError, match=r"^budget: 0\.02 s leave too little"):
        search_function(checkerboard(40, 20), method="darts-2", space="sif", budget=0.02, threads=1)


def test_no_pilot_runs_once_the_budget_is_used(
    checkerboard: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TimeBudget, "left", property(lambda self: 0.0))
    model = Recommender(budget=1, baselines=[], threads=1).fit(checkerboard(40, 20))
    report = model.report()
    assert "pilots" not in report.seconds
    (row,) = report.rows
    assert row.tried == "1 of 5 settings, 1 of 40 epochs"


@pytest.mark.slow
def test_the_clock_starts_once_the_modules_are_loaded() -> None:
    """Needs a fresh interpreter, which loads torch."""
    code = """
import sys
import pandas as pd, sif
from sif.recommender import fit
orders = pd.DataFrame([(f"c{c}", f"i{i}") for c in range(30) for i in range(8) if (c + i) % 3],
                      columns=["user", "item"])
start = fit.TimeBudget.__post_init__
def begin(budget):
    global before
    before = set(sys.modules)
    start(budget)
fit.TimeBudget.__post_init__ = begin
sif.search_function(orders, budget="5s", threads=1)
print(len([name for name in set(sys.modules) - before if name.count(".") == 0]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert int(done.stdout) < 5  # torch's compiler and numba bring dozens
