"""Baselines, and their tuning on validation.

A `Baseline` turns a train part and a small grid of parameters into scorers; `fit_best` keeps the
one that validation ranks first. No baseline sees the test part.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sif.baselines.axes import Axis, beyond_edges
from sif.data.interactions.interactions import Interactions
from sif.errors import ConfigError, DataError
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
from sif.utils.calls import CPU
from sif.utils.device import never, torch_threads

Params = Mapping[str, float | int]
FitOne = Callable[[Interactions, Params, int, int], Scorer]
FitGrid = Callable[[Interactions, Sequence[Params], int, int], Iterator[Scorer]]


def told(params: Params) -> str:
    """Parameters on one line, such as "l2 300"."""
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in params.items())


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
        axes: Parameter to how the grid goes on where its best setting is at an end.
        further: Settings beyond the ends of the grid at most, as a share of the grid.
        on_gpu: `fit_grid` on a CUDA device; None: there is no other.
        trained: The settings of a grid that are trained, where others are read off on their way.
        fit_seconds: (train, grid) to the seconds of each fit with what it shares, where no fit is
            small; None: a fit of few epochs, or the first of the grid, is measured.
        matrices: Floats that a fit holds at once in square matrices: (n_users, n_items) to their
            number.
        serving: How it is served; None: it is compared only.
    """

    name: str
    description: str
    objectives: frozenset[Objective]
    grid: tuple[Params, ...]
    fit_grid: FitGrid
    axes: Mapping[str, Axis] = field(default_factory=dict)
    further: float = 0.5
    on_gpu: FitGrid | None = None
    trained: Callable[[Sequence[Params]], Sequence[Params]] = list
    fit_seconds: Callable[[Interactions, Sequence[Params]], Sequence[float]] | None = None
    matrices: Callable[[int, int], int] = lambda n_users, n_items: 0
    serving: Serving | None = None

    def expression(self, params: Params) -> str:
        """Its name with its parameters, such as "ease (l2 300)"."""
        return f"{self.name} ({told(params)})" if params else self.name

    def fits(self, device: torch.device) -> FitGrid:
        """The fit of a grid on a device."""
        if device.type == "cuda" and self.on_gpu is not None:
            return self.on_gpu
        return self.fit_grid

    def fit(
        self, train: Interactions, params: Params, seed: int, threads: int,
        device: torch.device = CPU,
    ) -> Scorer:  # fmt: skip
        """The scorer of one parameter set, fitted on the train part."""
        return next(self.fits(device)(train, (params,), seed, threads))


@dataclass(frozen=True, eq=False, kw_only=True)
class Chosen:
    """The best of a baseline's grid, by validation.

    Attributes:
        params: its parameters.
        valid: its evaluation on validation.
        seconds: wall time of the whole grid with its evaluations.
        trials: every parameter set with its value of the selecting metric.
        times: seconds from the beginning until each of them was judged.
        edge: parameters whose best value is at an end of what was tried.
        cut: whether the grid ended for want of time.
    """

    params: Params
    valid: Evaluation
    seconds: float
    trials: tuple[tuple[Params, float], ...]
    times: tuple[float, ...] = ()
    edge: tuple[str, ...] = ()
    cut: bool = False

    @property
    def tried(self) -> list[dict[str, Any]]:
        """Every parameter set by name, with its value and seconds, as `Trained.tried` has them."""
        return [
            {"name": told(params), "value": value, "seconds": seconds}
            for (params, value), seconds in zip(self.trials, self.times, strict=True)
        ]


@dataclass(frozen=True, eq=False, kw_only=True)
class Fitted(Chosen):
    """A tuned baseline.

    Attributes:
        scorer: the model that validation ranks first, fitted on the train part only.
    """

    scorer: Scorer


@dataclass(frozen=True, eq=False)
class TableScorer:
    """Scores of all users, computed beforehand: (n_users, n_items)."""

    table: NDArray[np.float32]

    @classmethod
    def of(cls, order: ItemOrder, train: Interactions) -> TableScorer:
        """One order of the items for every user."""
        return cls.of_order(order.scores(train), train.sizes[0])

    @classmethod
    def of_order(cls, order: NDArray[np.float32], n_users: int) -> TableScorer:
        """Scores (n_items,) that are those of every user."""
        return cls(np.broadcast_to(order, (n_users, len(order))))

    def __reduce__(self) -> Any:
        """For other processes: one order for every user travels once."""
        if self.table.strides[0] == 0 and len(self.table):
            return TableScorer.of_order, (self.table[0].copy(), len(self.table))
        return TableScorer, (self.table,)

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
    device: torch.device = CPU,
    out_of_time: Callable[[], bool] = never,
    cutoffs: Sequence[int] = CUTOFFS,
    cold_order: ItemOrder = POPULARITY_ORDER,
    by_features: bool = False,
) -> Fitted:
    """Fits the grid on train and keeps what validation ranks first (the earliest of equals).

    Where that is at an end of the grid, the grid goes on along `Baseline.axes` until the best is
    inside, or `Baseline.further` settings more were tried.

    Args:
        baseline: An entry of `BASELINES`.
        train: Part that is fitted, and masked when ranking.
        valid: Part that decides.
        objective: "ranking" decides by NDCG@10, "rating" by RMSE.
        seed: Of initialization and sampling.
        threads: Of the CPU.
        device: Of fits that a GPU can do.
        out_of_time: Asked after every parameter set; once it says so, that was the last.
        cutoffs: Of ranking metrics.
        cold_order: Of the items for new users, in rankings.
        by_features: Whether lists are also judged by the features of items that the train part has.

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
    cold_start = ColdStartRule.of(train, cold_order)

    def fits(grid: Sequence[Params]) -> Iterator[Scorer]:
        made = baseline.fits(device)(train, grid, seed, threads)
        return map(partial(with_cold_start, cold_start=cold_start), made)

    features = train.item_features if by_features else None

    def judge(scorer: Scorer) -> Evaluation:
        return evaluate_on(scorer, train, (train,), valid, objective, cutoffs, features)

    tuning = Tuning(baseline, fits, judge, MAIN_METRIC[objective], out_of_time)
    with torch_threads(threads):
        tuning.take(baseline.grid)
        tuning.go_on()
    if tuning.best is None:
        raise ConfigError(f"baseline {baseline.name}: grid: expected parameter sets, found none")
    scorer, params, evaluation = tuning.best
    return Fitted(
        scorer=scorer, params=params, valid=evaluation, seconds=time.perf_counter() - start,
        trials=tuple(tuning.trials), times=tuple(tuning.times), edge=tuning.edge(),
        cut=tuning.late,
    )  # fmt: skip


def choose(*arguments: Any, **further: Any) -> Chosen:
    """`fit_best` without the scorer, where what validation chose is fitted once more anyway."""
    found = vars(fit_best(*arguments, **further))
    return Chosen(**{entry.name: found[entry.name] for entry in fields(Chosen)})


class Tuning:
    """Settings that were fitted and judged, and the best of them.

    Args:
        baseline: Whose grid they are from, or lie beyond.
        fits: Settings to their scorers, lazily and in order.
        judge: Evaluates on validation.
        metric: That decides.
        out_of_time: See `fit_best`.

    Attributes:
        trials: What was tried, with its value of the metric.
        times: Seconds from the beginning until each was judged.
        best: The best of it.
        late: Whether time was over.
    """

    def __init__(
        self, baseline: Baseline, fits: Callable[[Sequence[Params]], Iterator[Scorer]],
        judge: Callable[[Scorer], Evaluation], metric: str, out_of_time: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._baseline, self._fits, self._judge, self._metric = baseline, fits, judge, metric
        self._out_of_time, self.late = out_of_time, False
        self.trials: list[tuple[Params, float]] = []
        self.times: list[float] = []
        self._begin = time.perf_counter()
        self.best: tuple[Scorer, Params, Evaluation] | None = None

    def take(self, grid: Sequence[Params]) -> None:
        """Fits and judges settings, as long as there is time."""
        scorers = self._fits(grid)
        for params in grid:
            scorer = next(scorers)
            evaluation = self._judge(scorer)
            value = evaluation.metrics[self._metric]
            self.trials.append((params, value))
            self.times.append(time.perf_counter() - self._begin)
            if self.best is None or merit(self._metric, value) > merit(
                self._metric, self.best[2].metrics[self._metric]
            ):
                self.best = scorer, params, evaluation
            del scorer  # or the next one is made beside it and the best
            if self._out_of_time():
                self.late = True
                return

    def go_on(self) -> None:
        """Tries settings beyond the ends where the best is at one, `further` at most.

        A setting that cannot be fitted, such as a penalty that is too small, ends it.
        """
        most = math.ceil((1 + self._baseline.further) * len(self._baseline.grid))
        while not self.late and len(self.trials) < most:
            further = [params for _, params in self._beyond()]
            if not further:
                return
            try:
                self.take(further[: most - len(self.trials)])
            except (DataError, torch.linalg.LinAlgError):  # type: ignore[attr-defined]
                return

    def edge(self) -> tuple[str, ...]:
        """Parameters whose best value is at an end of what was tried."""
        return tuple(dict.fromkeys(name for name, _ in self._beyond()))

    def _beyond(self) -> list[tuple[str, Params]]:
        if self.best is None:
            return []
        tried, of = [params for params, _ in self.trials], self._baseline
        return list(beyond_edges(of.axes, of.grid, tried, self.best[1]))


def fit_chosen(
    baseline: Baseline, train: Interactions, params: Params, *, seed: int, threads: int,
    device: torch.device = CPU, cold_order: ItemOrder = POPULARITY_ORDER,
) -> Scorer:  # fmt: skip
    """Fits one parameter set, as `fit_best` does of a grid.

    Args:
        baseline: An entry of `BASELINES`.
        train: Part that is fitted.
        params: Of the grid.
        seed: Of initialization and sampling.
        threads: Of the CPU.
        device: Of fits that a GPU can do.
        cold_order: Of the items for new users, in rankings.

    Raises:
        ConfigError, DataError: It cannot be fitted here.
    """
    with torch_threads(threads):
        fit = baseline.fit(train, params, seed, threads, device)
    return with_cold_start(fit, ColdStartRule.of(train, cold_order))


def one_by_one(fit: FitOne) -> FitGrid:
    """A grid fit that shares nothing between its parameter sets."""

    def fit_grid(
        train: Interactions, grid: Sequence[Params], seed: int, threads: int
    ) -> Iterator[Scorer]:
        return (fit(train, params, seed, threads) for params in grid)

    return fit_grid
