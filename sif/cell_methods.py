"""Searches for cells of all kinds: the methods by name, and one search from a configuration."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from sif.config.cells import CellSearchSection
from sif.config.sections import Section
from sif.errors import ConfigError
from sif.methods.base import Method
from sif.methods.darts import Darts, DartsSettings
from sif.methods.nasp import Nasp, NaspSettings
from sif.methods.random import RandomSearch, RandomSettings
from sif.optimisers import Optimiser, Schedule
from sif.prox import Gates
from sif.runtime import Runtime, enough_memory, generator
from sif.search import Checkpointer, SearchResult, SearchSettings, search
from sif.spaces.base import Space
from sif.streams import Stream
from sif.tracking import Tracker


def _nasp(space: Space, search: CellSearchSection, warmup: int, draws: torch.Generator) -> Method:
    settings = NaspSettings(
        warmup_steps=warmup, explore=search.explore, optimizer=search.arch_optimizer,
        lr=search.arch_lr, eta=search.eta, box=search.box,
        probe_operations=search.probe_operations, probe_rows=search.probe_rows,
    )  # fmt: skip
    return Nasp(space, settings, draws)


def _darts(order: int) -> Callable[..., Method]:
    def make(
        space: Space, search: CellSearchSection, warmup: int, draws: torch.Generator
    ) -> Method:
        settings = DartsSettings(order, search.darts_lr, unrolled_lr=search.lr)
        return Darts(space, settings, draws)

    return make


def _random(space: Space, search: CellSearchSection, warmup: int, draws: torch.Generator) -> Method:
    return RandomSearch(space, RandomSettings(), draws)


@dataclass(frozen=True)
class CellMethod:
    """A method by its name.

    Attributes:
        make: (space, section of the configuration, warm-up steps, generator) to the method.
        warms_up: Whether alpha rests during the warm-up; where it does not, there is none.
        mixes: Whether its weight steps train mixtures of all operations.
    """

    make: Callable[[Space, CellSearchSection, int, torch.Generator], Method]
    warms_up: bool = False
    mixes: bool = False


METHODS: dict[str, CellMethod] = {
    "nasp": CellMethod(_nasp, warms_up=True),
    "darts-1": CellMethod(_darts(1), mixes=True),
    "darts-2": CellMethod(_darts(2), mixes=True),
    "random": CellMethod(_random),
}


@dataclass(frozen=True, eq=False)
class CellSearch:
    """A supernet, what it learns from, and who judges it.

    Attributes:
        space: With fresh weights.
        settings: Section of the configuration.
        train: Batches of the weights.
        valid: Batches of alpha.
        optimiser: Of the weights.
        schedule: Of their step size.
        judge: Value of a selection as a network of its own on validation.
        judged: Name of that value.
        runtime: Gives the random numbers of the method.
    """

    space: Space
    settings: CellSearchSection
    train: Stream
    valid: Stream
    optimiser: Optimiser
    schedule: Schedule
    judge: Callable[[Gates], float]
    judged: str
    runtime: Runtime

    def run(
        self, method: str, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Callable[[int, Any], None],
    ) -> tuple[SearchResult, float]:  # fmt: skip
        """Searches with a method of `METHODS`; what was found, and its value by `judge`.

        Random search chooses by `judge` among its candidates, on its own clock.

        Raises:
            DivergedError: The search diverged.
        """
        kind, settings = METHODS[method], self.settings
        steps = settings.steps_per_epoch or self.train.steps_per_pass
        warmup = settings.warmup_epochs * steps if kind.warms_up else 0
        draws = generator(self.runtime, "search", "method", device=torch.device("cpu"))
        loop = SearchSettings(
            settings.epochs,
            settings.lr,
            settings.arch_every,
            warmup,
            settings.max_norm,
            self.optimiser,
            self.schedule,
            settings.steps_per_epoch,
        )
        made = kind.make(self.space, settings, warmup, draws)
        found = search(
            self.space, made, self.train, self.valid, loop, tracker, checkpointer, on_epoch,
            lambda gates: {self.judged: self.judge(gates)},
        )  # fmt: skip
        return found, float(found.history[-1]["judged"][self.judged])


def check_warmup(settings: CellSearchSection) -> None:
    """Raises ConfigError where no epoch is left in which alpha moves."""
    if settings.warmup_epochs >= settings.epochs:
        raise ConfigError(
            f"search.warmup: expected epochs in which alpha moves, found none: "
            f"{settings.warmup:g} of {settings.epochs}"
        )


def lowering(
    runtime: Runtime, name: str, section: Section, settings: tuple[str, ...]
) -> AbstractContextManager[None]:
    """A block whose failing allocations say which settings of a section to lower."""
    lower = ", ".join(f"{name}.{key} ({getattr(section, key)})" for key in settings)
    return enough_memory(runtime.device, f"lower {lower}")
