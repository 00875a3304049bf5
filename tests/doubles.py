"""Stand-ins that several test modules take."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sif.core.gates import Block, Gates
from sif.core.genotype import Genotype


class OneState:
    """Keeps the state of the given offer; restores a given state."""

    def __init__(self, keep: int, state: dict[str, Any] | None = None) -> None:
        self.keep, self.given, self.kept, self.offers = keep, state, None, 0

    def restore(self) -> dict[str, Any] | None:
        return self.given

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        self.offers += 1
        if self.offers == self.keep:
            self.kept = copy.deepcopy(state())


@dataclass(frozen=True, eq=False)
class Table:
    """Scores and ratings looked up in one table."""

    values: np.ndarray

    def scores(self, users: np.ndarray) -> np.ndarray:
        return self.values[users]

    def predict(self, ids: np.ndarray) -> np.ndarray:
        return self.values[ids[:, 0], ids[:, 1]]


class PlantedSpace(torch.nn.Module):
    """A space whose loss is a function of its gates alone.

    Args:
        blocks: Of the space.
        loss_of: Block name to gate values, to a scalar.
    """

    name = "planted"

    def __init__(
        self, blocks: Sequence[Block], loss_of: Callable[[Mapping[str, Tensor]], Tensor]
    ) -> None:
        super().__init__()
        self.blocks, self.loss_of = tuple(blocks), loss_of
        self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def weight_parameters(self) -> list[torch.nn.Parameter]:
        return [self.weight]

    def arch_parameters(self) -> list[torch.nn.Parameter]:
        return []

    def loss(self, batch: Any, gates: Gates) -> Tensor:
        return self.loss_of(gates.weights) + 0 * self.weight.sum()

    def regularizer(self, gates: Gates) -> Tensor:
        return self.weight.new_zeros(())

    def genotype(self, gates: Gates) -> Genotype:
        return Genotype(self.name, gates.choices().named(self.blocks))

    def reference_tensor(self) -> Tensor:
        return self.weight
