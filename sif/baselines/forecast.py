"""The seconds that the tuning of a baseline takes, measured on its smallest fits."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sif.baselines.base import Baseline, Params
from sif.baselines.bias import GLOBAL_MEAN
from sif.baselines.popularity import POPULARITY
from sif.data.interactions.interactions import Interactions
from sif.evaluation.cold_start import ColdStartRule, with_cold_start
from sif.evaluation.evaluate import Objective, evaluate_on
from sif.utils.device import torch_threads

FEW, MORE = 1, 3
"""Epochs of the two fits whose difference is the cost of an epoch."""


def tuning_seconds(
    baseline: Baseline, train: Interactions, evaluation: float, *, seed: int, threads: int
) -> float:
    """Seconds of `fit_best`, measured.

    Args:
        baseline: An entry of `BASELINES`.
        train: Part that is fitted.
        evaluation: Seconds of an evaluation.
        seed: Of initialization and sampling.
        threads: Of the CPU.

    Raises:
        ConfigError, DataError: It cannot be fitted here.
    """
    smallest = baseline.grid[0]
    with torch_threads(threads):
        if baseline.setting_seconds is not None:
            fits = len(baseline.grid) * baseline.setting_seconds(train)
        elif "epochs" in smallest:
            few, more = (
                _fit_seconds(baseline, train, {**smallest, "epochs": epochs}, seed, threads)
                for epochs in (FEW, MORE)
            )
            epoch = max(more - few, 0.0) / (MORE - FEW)
            fits = max(few - epoch, 0.0) * len(baseline.trained(baseline.grid))
            fits += (
                epoch
                * _epochs(baseline.trained(baseline.grid))
                / float(smallest.get("dimension", 1))
            )
        else:
            fits = len(baseline.grid) * _fit_seconds(baseline, train, smallest, seed, threads)
    return fits + len(baseline.grid) * evaluation


def evaluation_seconds(train: Interactions, valid: Interactions, objective: Objective) -> float:
    """Seconds of the evaluation of a simple model."""
    simple = POPULARITY if objective in POPULARITY.objectives else GLOBAL_MEAN
    fitted = with_cold_start(simple.fit(train, simple.grid[0], 0, 1), ColdStartRule.of(train))
    begin = time.perf_counter()
    evaluate_on(fitted, train, (train,), valid, objective)
    return time.perf_counter() - begin


def _fit_seconds(
    baseline: Baseline, train: Interactions, params: Params, seed: int, threads: int
) -> float:
    begin = time.perf_counter()
    baseline.fit(train, params, seed, threads)
    return time.perf_counter() - begin


def _epochs(trained: Sequence[Params]) -> float:
    """Epochs of all trainings, each times its dimension."""
    return sum(float(one["epochs"]) * float(one.get("dimension", 1)) for one in trained)
