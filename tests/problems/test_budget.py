"""The clock of a fit, with a clock of our own; and whole fits that end in time."""

from __future__ import annotations

import logging
import pickle
import re
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from sif.config import TrainConfig
from sif.errors import ConfigError
from sif.problems.budget import StageEnd, TimeBudget, fitting, whole_epochs
from sif.recommender.recommender import Recommender

Board = Callable[..., pd.DataFrame]
GRID = TrainConfig(
    epochs=40, halving_fraction=0.125, halving_keep=0.4, l2=(3.5, 1.0, 1.5, 2.0, 2.5)
)
"""Five strengths, each for 5 epochs, and two of them for 35 more: 95 epochs."""


class Clock:
    """Tells what it is set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_a_stage_saves_the_next_may_spend() -> None:
    clock = Clock()
    budget = TimeBudget(100.0, clock)
    with budget.stage("one", 0.5) as seconds:
        assert seconds == pytest.approx(0.5 * 95)  # five are left to what cannot be cut short
        clock.now = 15.0
        assert not budget.out_of_time() and budget.stage_left == pytest.approx(32.5)
    with budget.stage("two") as seconds:
        assert seconds == pytest.approx(80)
        clock.now = 94.0
        assert not budget.out_of_time()
        clock.now = 95.0
        assert budget.out_of_time()
    assert not budget.out_of_time()  # no stage, no end
    assert budget.spent == {"one": 15.0, "two": 80.0} and budget.left == 5


def test_the_end_of_a_stage_is_a_time_of_the_day_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, day, noted = Clock(), Clock(), list[str]()
    monkeypatch.setattr("sif.problems.budget.time.time", day)
    budget = TimeBudget(100.0, clock)
    ends = StageEnd(budget, lambda: noted.append("late"))
    day.now = 5000.0
    endless = pickle.loads(pickle.dumps(ends))  # no stage, no end
    with budget.stage("one", later=35.0):
        elsewhere = pickle.loads(pickle.dumps(ends))
        clock.now, day.now = 59.0, 5059.0
        assert not ends() and not elsewhere() and noted == []
        clock.now, day.now = 61.0, 5061.0
        assert ends() and elsewhere() and noted == ["late"]
    day.now = 1e12
    assert elsewhere() and not endless()


def test_cpu_seconds_of_a_second_are_measured_once_there_is_work() -> None:
    clock, cpu = Clock(), Clock()
    budget = TimeBudget(100.0, clock, cpu)
    clock.now = 50.0  # reading, which leaves the processor alone
    budget.begin_work()
    assert budget.parallel == 1.0
    clock.now, cpu.now = 54.0, 6.0
    assert budget.parallel == 1.5
    cpu.now = 0.0
    assert budget.parallel == 0.1


def test_a_training_gets_a_little_even_if_nothing_is_left() -> None:
    clock = Clock()
    budget = TimeBudget(100.0, clock)
    clock.now = 130.0
    with budget.stage("search", 0.5) as seconds:
        assert seconds == 0 and budget.out_of_time()
    with budget.stage("training", 0.5, least=0.05) as seconds:
        assert seconds == 5 and not budget.out_of_time()
    told = budget.verdict()
    assert told is not None and "expected at most 100 s, took 130.0 s (search 0.0 s" in told


def test_the_reason_of_an_excess_is_the_stage_that_took_too_much() -> None:
    clock = Clock()
    budget = TimeBudget(100.0, clock)
    with budget.stage("reading"):
        clock.now += 10
    with budget.stage("pilots", 0.1):  # 8.5 are its share
        clock.now += 48.5
    with budget.stage("search", 0.5):  # 18.25
        clock.now += 19
    with budget.stage("searched"):
        clock.now += 60
    told = budget.verdict()
    assert told == (
        "budget: expected at most 100 s, took 137.5 s (reading 10.0 s, pilots 48.5 s, search 19.0 "
        "s, searched 60.0 s); searched 42.5 s beyond its share: a training takes an epoch; pilots "
        "40.0 s beyond its share: a pilot takes a few steps and a validation"
    )


def test_without_a_budget_there_is_no_end() -> None:
    clock = Clock()
    budget = TimeBudget(None, clock)
    with budget.stage("one", 0.1) as seconds:
        clock.now = 1e9
        assert seconds == float("inf") and not budget.out_of_time()
    assert budget.verdict() is None and budget.spent == {"one": 1e9}


@pytest.mark.parametrize(
    ("epochs", "l2", "per_strength"),
    [
        (95, (3.5, 1.0, 1.5, 2.0, 2.5), 40),
        (94, (1.0, 1.5, 2.0, 2.5, 3.5), 39),
        (36, (1.0, 1.5, 2.0, 2.5, 3.5), 15),
        (35, (1.5, 2.0, 2.5), 28),
        (18, (2.0,), 18),
        (0.5, (2.0,), 1),
    ],
)
def test_strengths_are_given_up_before_epochs_are_too_few(
    epochs: float, l2: tuple[float, ...], per_strength: int
) -> None:
    found = fitting(GRID, epoch_seconds=2.0, seconds=2.0 * epochs)
    assert (found.l2, found.epochs) == (l2, per_strength)
    assert whole_epochs(found) <= max(epochs, 1)
    assert (found is GRID) == (epochs >= 95)
    assert found is GRID or found.extend_grid == 0  # there is no time beyond the ends


@pytest.mark.slow
def test_a_fit_ends_in_time_and_says_where_the_time_went(
    checkerboard: Board, caplog: pytest.LogCaptureFixture
) -> None:
    """Takes the seconds that it allows."""
    frame = checkerboard(40, 20)
    Recommender(budget=1, threads=1).fit(frame)  # imports and compiles what the next one uses
    start = time.perf_counter()
    model = Recommender(budget="4s", dimension=16, threads=1).fit(frame)
    took = time.perf_counter() - start
    told = "budget: expected at most 4 s" in caplog.text
    assert told == (sum(model.report().seconds.values()) > 1.2 * 4)
    assert took < 1.2 * 4 or told  # a busy machine, and then the log says which stage
    assert took < 2 * 4
    seconds = model.report().seconds
    assert {"reading", "pilots", "fixed-multiply", "search", "serving"} <= set(seconds)
    assert seconds["search"] < 0.6 * 4


def test_a_budget_that_is_too_small_is_told(
    checkerboard: Board, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def slowly(*arguments: Any, **named: Any) -> Any:
        time.sleep(0.1)
        return read(*arguments, **named)

    from sif.recommender import fit

    read = fit.parts
    monkeypatch.setattr(fit, "parts", slowly)
    with caplog.at_level(logging.WARNING, "sif"):
        model = Recommender(budget=0.01, dimension=4, threads=1).fit(checkerboard(40, 20))
    assert "budget: expected at most 0.01 s, took" in caplog.text
    assert "no time for a search, fixed multiply is served: budget: 0.01 s leave" in caplog.text
    # The first of the excess's reasons is the true one.
    assert re.search(r"\); reading 0\.\d s beyond its share: the data are read whole", caplog.text)
    assert model.report().found == "" and "no search: no time" in repr(model.report())
    assert len(model.recommend("u1", n=3)) == 3


def test_a_search_that_cannot_be_made_is_no_lack_of_time(
    checkerboard: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*arguments: Any, **named: Any) -> Any:
        raise ConfigError("search: expected more memory; lower search.batch_size")

    monkeypatch.setattr("sif.recommender.fit.InteractionProblem.search", too_large)
    with pytest.raises(ConfigError, match=r"lower search\.batch_size"):
        Recommender(budget=5, dimension=4, threads=1).fit(checkerboard(40, 20))
