"""Baselines, and their tuning on validation.

A `Baseline` turns a train part and a small grid of parameters into scorers; `fit_best` keeps the
one that validation ranks first. No baseline sees the test part.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sif.data.interactions.interactions import Interactions
from sif.errors import ConfigError
from sif.evaluation.cold_start import ColdStartRule, with_cold_start
from sif.evaluation.evaluate import (
    CUTOFFS,
    MAIN_METRIC,
    Evaluation,
    Objective,
    Scorer,
    evaluate_on,
)
from sif.evaluation.item_orders import POPULARITY_ORDER, ItemOrder
from sif.evaluation.metrics import merit
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.linear.network import OrderNetwork
from sif.utils.device import never, torch_threads

Params = Mapping[str, float | int]
FitOne = Callable[[Interactions, Params, int, int], Scorer]
FitGrid = Callable[[Interactions, Sequence[Params], int, int], Iterator[Scorer]]


@dataclass(frozen=True)
class RowLoss:
    """The loss of a factor model as one of its rows sees it, for rows that are folded in.

    Attributes:
        loss: Name of a loss of interaction functions.
        l2: Strength; a row with n pairs is penalized by l2 * n^l2_power.
        l2_power: Exponent of that number of pairs.
        extra: Weight of an observed pair above the 1 of any pair (whole-data).
    """

    loss: str
    l2: float
    l2_power: float = 0.0
    extra: float = 0.0


@dataclass(frozen=True)
class Serving:
    """How a fitted baseline becomes a network that is served like a searched one.

    Attributes:
        network: (scorer, train, params) to a network with its scores; it takes the scorer over.
        row_loss: Of factor models; None: users are their histories.
        most_items: Items that it can be served with.
    """

    network: Callable[[Any, Interactions, Params], InteractionNetwork | OrderNetwork]
    row_loss: Callable[[Params], RowLoss] | None = None
    most_items: int = sys.maxsize


@dataclass(frozen=True)
class Baseline:
    """A classical model and the grid on which it is tuned.

    Attributes:
        name: key in `BASELINES`.
        description: one line for tables and `--help`.
        objectives: Objectives that it serves.
        grid: parameter sets to try, in order.
        fit_grid: (train, grid, seed, threads) to one scorer per parameter set, lazily and in order;
            it may share work between them.
        trained: The settings of a grid that are trained, where others are read off on their way.
        setting_seconds: Train part to the seconds of a fit, where no fit is small; None: a fit of
            few epochs, or the first of the grid, is measured.
        matrices: Floats that a fit holds at once in square matrices: (n_users, n_items) to their
            number.
        serving: How it is served; None: it is compared only.
    """

    name: str
    description: str
    objectives: frozenset[Objective]
    grid: tuple[Params, ...]
    fit_grid: FitGrid
    trained: Callable[[Sequence[Params]], Sequence[Params]] = list
    setting_seconds: Callable[[Interactions], float] | None = None
    matrices: Callable[[int, int], int] = lambda n_users, n_items: 0
    serving: Serving | None = None

    def expression(self, params: Params) -> str:
        """Its name with its parameters, such as "ease (l2 300)"."""
        told = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in params.items())
        return f"{self.name} ({told})" if told else self.name

    def fit(self, train: Interactions, params: Params, seed: int, threads: int) -> Scorer:
        """The scorer of one parameter set, fitted on the train part."""
        return next(self.fit_grid(train, (params,), seed, threads))


@dataclass(frozen=True, eq=False)
class Fitted:
    """A tuned baseline.

    Attributes:
        scorer: the model that validation ranks first, fitted on the train part only.
        params: its parameters.
        valid: its evaluation on validation.
        seconds: wall time of the whole grid with its evaluations.
        trials: every parameter set with its value of the selecting metric.
    """

    scorer: Scorer
    params: Params
    valid: Evaluation
    seconds: float
    trials: tuple[tuple[Params, float], ...]


@dataclass(frozen=True, eq=False)
class TableScorer:
    """Scores of all users, computed beforehand: (n_users, n_items)."""

    table: NDArray[np.float32]

    @classmethod
    def of(cls, order: ItemOrder, train: Interactions) -> TableScorer:
        """One order of the items for every user."""
        return cls(np.broadcast_to(order.scores(train), train.sizes[:2]))

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (b, n_items) for users (b,)."""
        return self.table[users]


def fit_best(
    baseline: Baseline,
    train: Interactions,
    valid: Interactions,
    objective: Objective,
    *,
    seed: int,
    threads: int,
    out_of_time: Callable[[], bool] = never,
    cutoffs: Sequence[int] = CUTOFFS,
    cold_order: ItemOrder = POPULARITY_ORDER,
) -> Fitted:
    """Fits the grid on train and keeps what validation ranks first (the earliest of equals).

    Args:
        baseline: An entry of `BASELINES`.
        train: Part that is fitted, and masked when ranking.
        valid: Part that decides.
        objective: "ranking" decides by NDCG@10, "rating" by RMSE.
        seed: Of initialization and sampling.
        threads: Of the CPU.
        out_of_time: Asked after every parameter set; once it says so, that was the last.
        cutoffs: Of ranking metrics.
        cold_order: Of the items for new users, in rankings.

    Returns:
        The best of the grid, with the seconds of all of it.

    Raises:
        ConfigError: The baseline does not serve the objective, or its package is not installed.
        DataError: The data do not allow the fit or the evaluation.
    """
    if objective not in baseline.objectives:
        served = ", ".join(sorted(baseline.objectives))
        raise ConfigError(
            f"baseline {baseline.name}: expected objective {served}, found {objective}"
        )
    start = time.perf_counter()
    metric = MAIN_METRIC[objective]
    best: tuple[Scorer, Params, Evaluation] | None = None
    trials: list[tuple[Params, float]] = []
    cold_start = ColdStartRule.of(train, cold_order)
    with torch_threads(threads):
        scorers = baseline.fit_grid(train, baseline.grid, seed, threads)
        for params in baseline.grid:
            scorer = with_cold_start(next(scorers), cold_start)
            evaluation = evaluate_on(scorer, train, (train,), valid, objective, cutoffs)
            trials.append((params, evaluation.metrics[metric]))
            if best is None or merit(metric, trials[-1][1]) > merit(
                metric, best[2].metrics[metric]
            ):
                best = scorer, params, evaluation
            del scorer  # or the next one is made beside it and the best
            if out_of_time():
                break
    if best is None:
        raise ConfigError(f"baseline {baseline.name}: grid: expected parameter sets, found none")
    return Fitted(*best, time.perf_counter() - start, tuple(trials))


def fit_chosen(
    baseline: Baseline, train: Interactions, params: Params, *, seed: int, threads: int,
    cold_order: ItemOrder = POPULARITY_ORDER,
) -> Scorer:  # fmt: skip
    """Fits one parameter set, as `fit_best` does of a grid.

    Args:
        baseline: An entry of `BASELINES`.
        train: Part that is fitted.
        params: Of the grid.
        seed: Of initialization and sampling.
        threads: Of the CPU.
        cold_order: Of the items for new users, in rankings.

    Raises:
        ConfigError, DataError: It cannot be fitted here.
    """
    with torch_threads(threads):
        fit = baseline.fit(train, params, seed, threads)
    return with_cold_start(fit, ColdStartRule.of(train, cold_order))


def one_by_one(fit: FitOne) -> FitGrid:
    """A grid fit that shares nothing between its parameter sets."""

    def fit_grid(
        train: Interactions, grid: Sequence[Params], seed: int, threads: int
    ) -> Iterator[Scorer]:
        return (fit(train, params, seed, threads) for params in grid)

    return fit_grid
