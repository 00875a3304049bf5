"""Plans of jobs: what is given up for a budget, in which order, and never without need."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from sif.config import CFConfig, load_config
from sif.problems.pilots import StepTimer, TrainingCost
from sif.problems.plan import PACED, Costs, Cut, OwnCost, paced_seconds, planned, told
from sif.search.run import Forecast

CONFIG: Any = load_config("cf")
"""Ranking: 40 epochs, five strengths of L2, of which two train to the end; 125 epochs of search."""
TRAINING = TrainingCost(step=0.1, steps=10, validation=0.0, peak_memory_mb=100.0)
COSTS = Costs(
    {"searched": Forecast(epoch=1.0, step=0.1, end=0.0)},
    {"fixed-multiply": TRAINING, "searched": TRAINING},
    {"popularity": 1.0, "als": 20.0, "ease": 120.0},
    rest=4.0,
    epochs=40,
)
OPTIONAL = ("popularity", "als", "ease")


def plan(seconds: float | None, config: Any = CONFIG) -> tuple[Any, Cut]:
    return planned(config, COSTS, seconds, OPTIONAL, lambda config: config.search.epochs >= 20)


def total(config: Any, cut: Cut) -> float:
    return sum(COSTS.seconds(config, cut.left_out).values())


def test_estimates_add_up() -> None:
    # 95 epochs over the grid, of which early stopping takes six in ten.
    assert COSTS.seconds(CONFIG) == {
        "search searched": 125.0,
        "train fixed-multiply": pytest.approx(57.0),
        "train searched": pytest.approx(57.0),
        "baseline popularity": 1.0,
        "baseline als": 20.0,
        "baseline ease": 120.0,
        "rest": 4.0,
    }


def test_a_control_has_the_seconds_of_the_search_and_what_follows_from_it() -> None:
    slow = TrainingCost(step=3.0, steps=10, validation=0.0, peak_memory_mb=100.0)
    trainings = {"searched": TRAINING, "random-function": slow}
    rows = {"valid": 1.0, "all": 1.0}
    costs = replace(COSTS, trainings=trainings, baselines={}, rows=rows)
    free = costs.seconds(CONFIG)
    paced = replace(costs, paced={"random-function": "searched"}).seconds(CONFIG)
    allowed = free["search searched"] + free["train searched"]
    assert paced["train random-function"] == pytest.approx(allowed)
    assert allowed < free["train random-function"]
    assert free.keys() - paced.keys() == {"refit random-function"}
    others = paced.keys() - {"train random-function"}
    assert {name: paced[name] for name in others} == {name: free[name] for name in others}
    # A quicker one is not stretched, and nobody gets less than the least.
    quick = {"searched": TRAINING, "random-function": TRAINING}
    same = replace(costs, trainings=quick, paced={"random-function": "searched"})
    once = same.seconds(CONFIG)
    assert once["train random-function"] == once["train searched"]
    assert paced_seconds(1.0) == PACED and paced_seconds(2 * PACED) == 2 * PACED


@pytest.mark.parametrize("seconds", [None, 384.0, 1e9])
def test_what_fits_stays_as_it_was_asked_for(seconds: float | None) -> None:
    assert plan(seconds) == (CONFIG, Cut())


@pytest.mark.parametrize("seconds", [350, 250, 180, 120, 90, 60, 40])
def test_plans_fit(seconds: float) -> None:
    config, cut = plan(seconds)
    assert total(config, cut) <= seconds
    assert told(CONFIG, config, cut)


def test_less_is_given_up_in_a_fixed_order() -> None:
    cuts = [plan(seconds)[1] for seconds in range(384, 30, -2)]
    assert cuts[0] == Cut()
    for left_out in ((), ("ease",), ("ease", "als")):
        factors = [cut.factor for cut in cuts if cut.left_out == left_out]
        assert len(factors) > 1 and factors == sorted(factors, reverse=True)
    first_shorter = next(cut for cut in cuts if cut.factor < 1)
    assert first_shorter.strengths == 3 and first_shorter.halved and not first_shorter.left_out
    first_left_out = next(cut for cut in cuts if cut.left_out)
    assert first_left_out.left_out == ("ease",) and first_left_out.factor >= 0.375
    assert first_left_out.strengths == 3
    assert not any("popularity" in cut.left_out for cut in cuts)


def test_what_was_cut_comes_back_where_a_slow_baseline_is_left_out() -> None:
    cuts = [(seconds, *plan(seconds)) for seconds in range(384, 30, -2)]
    at = next(place for place, (_, _, cut) in enumerate(cuts) if cut.left_out)
    before, (seconds, config, cut) = cuts[at - 1][2], cuts[at]
    assert cut.factor > before.factor and total(config, cut) > 0.8 * seconds
    closed = replace(COSTS, own={"order": OwnCost(20.0, 400.0, 100.0)})
    config, cut = planned(
        CONFIG, closed, 300.0, (*OPTIONAL, "order"), lambda config: config.search.epochs >= 20
    )
    assert cut.left_out[-1] == "order" and total(config, cut) > 0.8 * 300


def test_a_search_of_functions_goes_before_the_closed_form() -> None:
    """A function may be found whose epochs take longer than all the rest."""
    slow = replace(TRAINING, step=20 * TRAINING.step)
    costs = replace(
        COSTS, trainings={"fixed-multiply": TRAINING, "searched": slow},
        own={"order": OwnCost(20.0, 40.0, 10.0)},
    )  # fmt: skip
    cuts = {
        seconds: planned(CONFIG, costs, seconds, OPTIONAL, lambda config: True)[1].left_out
        for seconds in (10, 80, 200)
    }
    assert cuts == {
        10: ("ease", "als", "searched", "order"),
        80: ("ease", "als", "searched"),
        200: ("ease",),  # with a tenth of its epochs at least
    }


def test_a_model_is_left_where_nothing_fits() -> None:
    """The cheapest of the closed forms; without these, functions are never left out."""
    own = {"order": OwnCost(20.0, 400.0, 100.0), "closed": OwnCost(0.0, 9.0, 1.0)}
    for seconds in (-30.0, 0.0, 0.5):
        cut = planned(CONFIG, replace(COSTS, own=own), seconds, OPTIONAL, lambda config: True)[1]
        assert "closed" not in cut.left_out and {"order", "searched"} <= set(cut.left_out)
        assert "searched" not in plan(seconds)[1].left_out


def test_second_fits_are_of_one_strength_and_given_up_after_the_strengths() -> None:
    costs = replace(COSTS, settings={"als": 5.0, "ease": 30.0}, rows={"valid": 1.125, "all": 1.25})
    # 24 epochs, six in ten of 40, of a second each; half as many again to settle.
    found = costs.seconds(CONFIG)
    assert found.keys() - COSTS.seconds(CONFIG).keys() == {
        "refit fixed-multiply", "refit searched", "refit als", "refit ease",
    }  # fmt: skip
    assert found["refit searched"] == pytest.approx(1.125 * 36)
    assert found["refit ease"] == pytest.approx(1.125 * 30)
    every = costs.seconds(CONFIG.model_copy(update={"refit": "all"}))
    assert every["fit on all rows"] == pytest.approx(1.25 * 36)
    once = CONFIG.model_copy(update={"refit": "none"})
    assert costs.seconds(once) == COSTS.seconds(once)
    cuts = [
        planned(CONFIG, costs, seconds, OPTIONAL, lambda config: config.search.epochs >= 20)
        for seconds in range(600, 30, -2)
    ]
    config, first = next((config, cut) for config, cut in cuts if cut.once)
    assert first.strengths == 1 and first.factor >= 0.375 and config.refit == "none"
    assert "no second fits" in told(CONFIG, config, first)
    assert all(config.refit == "valid" for config, cut in cuts if not cut.once)


def test_a_baseline_that_may_be_served_is_one_fit_where_no_second_one_is_at_hand() -> None:
    costs = replace(
        COSTS, settings={"als": 5.0, "ease": 30.0}, rows={"valid": 1.125, "all": 10.0}, serves=True
    )
    once, valid, every = (
        CONFIG.model_copy(update={"refit": refit}) for refit in ("none", "valid", "all")
    )
    assert costs.seconds(once)["fit served"] == 30.0
    assert costs.seconds(once, ("ease",))["fit served"] == 5.0
    assert "fit served" not in costs.seconds(once, ("ease", "als"))
    assert "fit served" not in costs.seconds(valid)
    # The dearest function: six in ten of 40 epochs, and half as many to settle.
    assert costs.seconds(every)["fit on all rows"] == pytest.approx(10 * 36.0)
    ours = replace(costs, serves=False)
    assert "fit served" not in ours.seconds(once)
    assert ours.seconds(every)["fit on all rows"] == pytest.approx(10 * 36.0)


def test_a_search_stays_long_enough_to_choose_and_a_baseline_is_left() -> None:
    config, cut = plan(12.0)
    assert config.search.epochs >= 20 and config.train.epochs == 1
    assert cut.left_out == ("ease", "als") and len(config.train.l2) == 1
    assert plan(0.0)[1].left_out == cut.left_out  # the other takes no more than a second


def test_a_search_by_steps_keeps_them() -> None:
    search = CONFIG.search.model_copy(update={"steps": 500})
    config, _ = plan(60.0, CONFIG.model_copy(update={"search": search}))
    assert config.search == search


def test_a_pilot_takes_few_steps() -> None:
    timer = StepTimer(torch.device("cpu"))
    assert len(list(timer(10_000))) == 21 and timer.steps == 10_000
    assert len(list(StepTimer(torch.device("cpu"))(2))) == 2


@pytest.mark.parametrize(
    ("given", "seconds"), [("10min", 600.0), (90, 90.0), ("1h 30s", 3630.0), (None, None)]
)
def test_a_budget_is_a_duration(given: Any, seconds: float | None) -> None:
    assert CFConfig(budget=given).budget == seconds
