"""The grid of L2 strengths, on a training that is a known function of the strength."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
import torch

from sif.config import CFConfig, TrainConfig
from sif.config.cf import SearchConfig
from sif.core.genotype import Genotype
from sif.errors import DivergedError
from sif.problems.base import Session, Trained
from sif.problems.interactions import InteractionProblem
from sif.problems.l2_grid import GridTraining, follows, search_strength
from sif.spaces.interaction.registry import SPACES
from sif.tracking.base import Tracker
from sif.training.loop import TrainResult

PRODUCT = Genotype(
    "primitives",
    {"operation": ((0, "multiply"),), "user": ((0, "~abs"),), "item": ((0, "~abs"),)},
)


class Kept:
    """Runs every stage and remembers their names."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def run(
        self, name: str, work: Callable[[Any], dict[str, Any]], shared: bool = False
    ) -> dict[str, Any]:
        self.names.append(name)
        return work(SimpleNamespace(restore=lambda: None, offer=lambda state: None))

    def trim(self, name: str, key: str) -> None:
        pass


class OfStrength(InteractionProblem):
    """Whose training is a function of the strength."""

    def __init__(self, metric: str, value: Callable[[float], float]) -> None:
        self.metric = self.shown = metric
        self.value, self.tried = value, list[float]()

    def expression(self, design: Genotype) -> str:
        return "a function"

    def enough_memory(self, section: str) -> Any:
        return contextlib.nullcontext()

    def train(self, design: Genotype, *rest: Any, l2: float = 0.0, **more: Any) -> Any:  # type: ignore[override]
        self.tried.append(l2)
        more["on_end"](lambda: {"epoch": 1})
        result = TrainResult({self.metric: self.value(l2)}, 2, 3, [], 1.0)
        return Trained(torch.nn.Identity(), result, {"l2": l2})


def trained(
    strengths: tuple[float, ...], rmse: Callable[[float], float], metric: str = "rmse", **more: Any
) -> tuple[Trained[Any], list[float], list[str]]:
    """The result of a grid, the strengths in the order of training, and the stages."""
    problem, kept = OfStrength(metric, rmse), Kept()
    tracker = create_autospec(Tracker, instance=True)
    console = SimpleNamespace(line=lambda text: None, progress=lambda *told: None)
    session = Session(kept, console, tracker)  # type: ignore[arg-type]
    grid = GridTraining(TrainConfig(l2=strengths, **more), problem, problem.train, session)
    return grid.train("searched", PRODUCT), problem.tried, kept.names


def valley(lowest: float) -> Callable[[float], float]:
    """An error with its minimum at a strength."""
    return lambda l2: 1 + 0.1 * math.log2(l2 / lowest) ** 2


def test_a_grid_with_its_best_inside_is_all_there_is() -> None:
    best, tried, _ = trained((2.0, 4.0, 8.0), valley(4.0))
    assert best.numbers["l2"] == 4.0
    assert sorted(set(tried)) == [2.0, 4.0, 8.0]


@pytest.mark.parametrize(("lowest", "tried"), [(0.5, [1.0, 0.5, 0.25]), (32.0, [16.0, 32.0, 64.0])])
def test_beyond_an_end_that_is_best_strengths_are_tried_while_they_gain(
    lowest: float, tried: list[float]
) -> None:
    best, order, stages = trained((2.0, 4.0, 8.0), valley(lowest))
    assert best.numbers["l2"] == lowest
    assert list(dict.fromkeys(order))[3:] == tried
    assert best.result.seconds == 6.0  # a second each, over both stretches of a training
    assert stages[-2:] == ["searched-5-start", "searched-5"]


def test_no_more_strengths_than_asked_are_tried() -> None:
    best, tried, _ = trained((2.0, 4.0), valley(1e-6), extend_grid=2)
    assert best.numbers["l2"] == 0.5
    assert set(tried) == {4.0, 2.0, 1.0, 0.5}
    assert set(trained((2.0, 4.0), valley(1e-6), extend_grid=0)[1]) == {4.0, 2.0}


def test_a_gain_that_seeds_make_ends_it_and_is_kept() -> None:
    best, tried, _ = trained((2.0, 4.0), lambda l2: 1 + 1e-4 * l2)
    assert set(tried) == {4.0, 2.0, 1.0}
    assert best.numbers["l2"] == 1.0


def test_metrics_that_rise_go_the_same_way() -> None:
    best, _, _ = trained((2.0, 4.0), lambda l2: 1 / valley(16.0)(l2), metric="ndcg@10")
    assert best.numbers["l2"] == 16.0


def test_one_strength_is_meant_and_0_has_nothing_below_it() -> None:
    assert set(trained((2.0,), valley(16.0))[1]) == {2.0}
    assert set(trained((0.0, 1.0), lambda l2: l2)[1]) == {0.0, 1.0}


def test_strengths_may_come_in_any_order_and_are_cut_first() -> None:
    best, tried, _ = trained((8.0, 2.0, 4.0), valley(1.0), halving_fraction=0.1, halving_keep=0.34)
    assert best.numbers["l2"] == 1.0
    assert tried == [8.0, 2.0, 4.0, 2.0, 1.0, 1.0, 0.5, 0.5]


def test_a_strength_beyond_that_diverges_is_not_kept() -> None:
    def rmse(l2: float) -> float:
        if l2 < 2:
            raise DivergedError("training diverged")
        return l2

    best, _, _ = trained((2.0, 4.0), rmse)
    assert best.numbers["l2"] == best.numbers["prefers"] == 2.0


def test_a_strength_of_the_grid_that_diverges_leaves_its_place_to_another() -> None:
    def rmse(l2: float) -> float:
        if l2 > 4:
            raise DivergedError(f"training diverged with {l2}")
        return l2

    best, _, _ = trained((2.0, 4.0, 8.0, 16.0), rmse)
    assert best.numbers["l2"] <= 2.0
    with pytest.raises(DivergedError, match=r"with 8\.0"):
        trained((8.0, 16.0), rmse)


@pytest.mark.parametrize(
    ("grid", "preferred", "before", "after"),
    [
        ((2.0, 4.0, 8.0), 2.0, 20.0, 20.0),
        ((2.0, 4.0, 8.0), 3.0, 20.0, 20.0),
        ((2.0, 4.0, 8.0), 8.0, 20.0, 20.0),
        ((2.0, 4.0, 8.0), 0.5, 20.0, 5.0),
        ((2.0, 4.0, 8.0), 32.0, 20.0, 32.0),
        ((40.0, 80.0), 10.0, 20.0, 10.0),  # not past what is preferred
        ((1.0, 2.0), 16.0, 20.0, 20.0),  # nor away from it
        ((8.0, 25.0), 2.0, 1.0, 1.0),
        ((0.0, 1.0), 0.0, 20.0, 20.0),
    ],
)
def test_the_search_follows_beyond_the_ends_of_the_grid(
    grid: tuple[float, ...], preferred: float, before: float, after: float
) -> None:
    config = CFConfig(train=TrainConfig(l2=grid), search=SearchConfig(l2=before))
    assert search_strength(config, preferred) == after


@pytest.mark.parametrize(
    ("space", "l2", "more", "expected"),
    [
        ("staged", (1.0, 2.0), {}, True),
        ("primitives", (1.0, 2.0), {}, True),
        ("sif", (1.0, 2.0), {}, False),  # fixed multiply is none of its functions
        ("staged", (1.0,), {}, False),
        ("staged", (1.0, 2.0), {"extend_grid": 0}, False),
    ],
)
def test_the_search_follows_where_fixed_multiply_is_of_the_space(
    space: str, l2: tuple[float, ...], more: dict[str, int], expected: bool
) -> None:
    config = CFConfig(train=TrainConfig(l2=l2, **more))
    assert follows(config, SPACES[space]) is expected
    off = config.model_copy(update={"search": SearchConfig(adapt_l2=False)})
    assert not follows(off, SPACES[space])


def test_a_gain_that_seeds_make_moves_no_search() -> None:
    best, _, _ = trained((2.0, 4.0), lambda l2: 1 + 1e-4 * l2)
    assert (best.numbers["l2"], best.numbers["prefers"]) == (1.0, 2.0)
