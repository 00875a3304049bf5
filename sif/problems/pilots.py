"""Pilots: a few steps of a training, measured and thrown away."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from sif.problems.base import Problem
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import finish, peak_memory_mb, reset_peak_memory

STEPS = (2, 20)
"""Fewest and most steps of a pilot, after a first one that allocates."""
SECONDS = 0.3
"""Seconds that a pilot's steps take, unless its fewest take more."""
REPEATED = 2.0
"""Seconds of a pilot up to which a second one is measured: the first may compile and load."""


@dataclass(frozen=True)
class TrainingCost:
    """Time and memory of a training.

    Attributes:
        step: Seconds of a step.
        steps: Of an epoch.
        validation: Seconds of a validation.
        peak_memory_mb: Of the process, or of the device.
        test: Seconds of an evaluation of the finished network.
    """

    step: float
    steps: int
    validation: float
    peak_memory_mb: float
    test: float = 0.0

    def epoch(self, evaluate_every: int = 1) -> float:
        """Seconds of an epoch with its share of a validation."""
        return self.step * self.steps + self.validation / evaluate_every


class StepTimer:
    """Hands out the steps of an epoch, few of them, and times each.

    Args:
        device: On which they run; each step is over when the device is.

    Attributes:
        steps: Of a whole epoch.
        seconds: Of each step that was taken.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.steps = 0
        self.seconds: list[float] = []

    def __call__(self, steps: int) -> Iterator[int]:
        """The numbers of the steps that are taken."""
        fewest, most = STEPS
        self.steps, begin = steps, time.perf_counter()
        for number in range(min(steps, 1 + most)):
            start = time.perf_counter()
            yield number
            finish(self._device)
            self.seconds.append(time.perf_counter() - start)
            if number >= fewest and time.perf_counter() - begin > SECONDS:
                return

    @property
    def usual(self) -> float:
        """Median of the seconds of a step."""
        return statistics.median(self.seconds)


def training_cost(problem: Problem[Any, Any], design: Any) -> TrainingCost:
    """Measures the training of a design on a few steps and a validation.

    Args:
        problem: Any; nothing of it changes.
        design: Of the network.

    Raises:
        DivergedError: The training diverged.
        ConfigError: Memory was too small.
    """
    begin = time.perf_counter()
    cost = _measured(problem, design)
    return _measured(problem, design) if time.perf_counter() - begin < REPEATED else cost


def _measured(problem: Problem[Any, Any], design: Any) -> TrainingCost:
    sample = problem.sampled()
    timer = StepTimer(problem.runtime.device)
    reset_peak_memory(problem.runtime)
    with problem.enough_memory("train"):
        pilot = sample.problem.at_pace(steps=timer, out_of_time=lambda: True)
        trained = pilot.train(design, NullTracker(), NoCheckpoint())
    validation = max(trained.result.seconds - sum(timer.seconds), 0.0)
    return TrainingCost(
        timer.usual, max(1, round(timer.steps * sample.training)), validation * sample.validation,
        peak_memory_mb(problem.runtime), validation * sample.test,
    )  # fmt: skip
