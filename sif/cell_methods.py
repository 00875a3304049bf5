"""The search methods for cells, made from a configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from sif.config.cells import CellSearchSection
from sif.methods.base import Method
from sif.methods.darts import Darts, DartsSettings
from sif.methods.nasp import Nasp, NaspSettings
from sif.methods.random import RandomSearch, RandomSettings
from sif.spaces.base import Space


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
    """

    make: Callable[[Space, CellSearchSection, int, torch.Generator], Method]
    warms_up: bool = False


METHODS: dict[str, CellMethod] = {
    "nasp": CellMethod(_nasp, warms_up=True),
    "darts-1": CellMethod(_darts(1)),
    "darts-2": CellMethod(_darts(2)),
    "random": CellMethod(_random),
}
