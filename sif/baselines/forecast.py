"""The seconds that the tuning of a baseline takes, measured on its smallest fits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from sif.baselines.base import Baseline, Params
from sif.baselines.bias import GLOBAL_MEAN
from sif.baselines.popularity import POPULARITY
from sif.data.interactions.interactions import Interactions
from sif.evaluation.cold_start import ColdStartRule, with_cold_start
from sif.evaluation.evaluate import Objective, evaluate_on, evaluated_users
from sif.utils.calls import CPU
from sif.utils.device import torch_threads

FEW, MORE = 1, 3
"""Epochs of the two fits whose difference is the cost of an epoch."""
MEASURED_USERS = (1000, 4000)
"""Users of the two evaluations whose difference is the cost of a user, where there are more."""
BEYOND = 0.5
"""Share of the settings beyond a grid's ends that are tried in the mean."""


@dataclass(frozen=True)
class TuningSeconds:
    """Seconds of a baseline's grid with its evaluations, and of the dearest setting alone."""

    grid: float
    setting: float


def tuning_seconds(
    baseline: Baseline, train: Interactions, evaluation: float, *, seed: int, threads: int,
    device: torch.device = CPU, times: float = 1.0,
) -> TuningSeconds:  # fmt: skip
    """Seconds of `fit_best` and of `fit_chosen`, measured.

    Args:
        baseline: An entry of `BASELINES`.
        train: Part that is fitted, or the rows of some of its users.
        evaluation: Seconds of an evaluation.
        seed: Of initialization and sampling.
        threads: Of the CPU.
        device: Of fits that a GPU can do.
        times: How many times as long fits of all rows take.

    Raises:
        ConfigError, DataError: It cannot be fitted here.
    """
    with torch_threads(threads):
        measured = partial(_fit_seconds, baseline, train, seed, threads, device)
        fits = [times * seconds for seconds in _fits(baseline, train, measured)]
    further = 1 + BEYOND * baseline.further if baseline.axes else 1.0
    grid = further * (sum(fits) + len(baseline.grid) * evaluation)
    return TuningSeconds(grid, max(fits) + evaluation)


def _fits(
    baseline: Baseline, train: Interactions, measured: Callable[[Params], float]
) -> Iterator[float]:
    """Seconds of each fit of the grid."""
    smallest = baseline.grid[0]
    if baseline.fit_seconds is not None:
        yield from baseline.fit_seconds(train, baseline.grid)
    elif "epochs" in smallest:
        few, more = (measured({**smallest, "epochs": epochs}) for epochs in (FEW, MORE))
        epoch = max(more - few, 0.0) / (MORE - FEW)
        for one in baseline.trained(baseline.grid):
            times = float(one.get("dimension", 1)) / float(smallest.get("dimension", 1))
            yield max(few - epoch, 0.0) + epoch * times * float(one["epochs"])
    else:
        yield from [measured(smallest)] * len(baseline.grid)


def evaluation_seconds(train: Interactions, valid: Interactions, objective: Objective) -> float:
    """Seconds of the evaluation of a simple model, for many users by those of some."""
    simple = POPULARITY if objective in POPULARITY.objectives else GLOBAL_MEAN
    fitted = with_cold_start(simple.fit(train, simple.grid[0], 0, 1), ColdStartRule.of(train))

    def seconds(truth: Interactions) -> float:
        begin = time.perf_counter()
        evaluate_on(fitted, train, (train,), truth, objective)
        return time.perf_counter() - begin

    users, _ = evaluated_users(valid)
    if objective == "rating" or len(users) <= MEASURED_USERS[1]:
        return seconds(valid)
    some = (users[np.linspace(0, len(users) - 1, n).astype(np.int64)] for n in MEASURED_USERS)
    few, many = (seconds(valid.select(np.isin(valid.ids[:, 0], chosen))) for chosen in some)
    each = max(many - few, 0.0) / (MEASURED_USERS[1] - MEASURED_USERS[0])
    return many + each * (len(users) - MEASURED_USERS[1])


def _fit_seconds(
    baseline: Baseline, train: Interactions, seed: int, threads: int, device: torch.device,
    params: Params,
) -> float:  # fmt: skip
    begin = time.perf_counter()
    baseline.fit(train, params, seed, threads, device)
    return time.perf_counter() - begin
