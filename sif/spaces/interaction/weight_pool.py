"""Weights of the combinations that a search over several stages visits.

A combination of choices trains weights of its own: shared weights fit the incumbent, which would
beat every challenger. A search compares only combinations one switch away from the selection, so a
few sets of weights suffice. A new combination takes over the set that was used longest ago, and
starts from the best known neighbor.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from sif.spaces.interaction.embeddings import Tables, TableShape
from sif.spaces.interaction.feature_vectors import FeatureSums
from sif.spaces.interaction.operations import Operation

Combination = tuple[int, ...]


class WeightSet(nn.Module):
    """One set of weights: tables for every encoding and a readout for every operation."""

    def __init__(
        self, shape: TableShape, operations: Sequence[Operation], generator: torch.Generator,
        described: Sequence[FeatureSums | None] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.tables = Tables(shape, generator, described)
        self.readouts = nn.ParameterList(shape.readout(operation) for operation in operations)


class WeightPool(nn.Module):
    """Sets of weights by the combination that trains them; all start from the same numbers.

    Args:
        first: One set; the others are copies.
        count: How many there are.
        edges: Numbers in a combination.
        inherit: Called for a new combination whose set was copied from a neighbor's: (set,
            combination, neighbor). Gives meaning to what the neighbor does not use.
    """

    points: Tensor
    trained: Tensor
    used: Tensor

    def __init__(
        self,
        first: WeightSet,
        count: int,
        edges: int,
        inherit: Callable[[WeightSet, Combination, Combination], None],
    ) -> None:
        super().__init__()
        self._inherit = inherit
        self.sets = nn.ModuleList([first, *(copy.deepcopy(first) for _ in range(count - 1))])
        self.register_buffer("points", torch.full((count, edges), -1))
        self.register_buffer("trained", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("used", torch.zeros(count, dtype=torch.int64))
        self._index: dict[Combination, int] | None = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> WeightPool:
        """Moves the weights; counts stay on the CPU, so that reading them waits for no device."""
        counts = {name: getattr(self, name) for name in ("points", "trained", "used")}
        super()._apply(fn, recurse)
        for name, count in counts.items():
            setattr(self, name, count)
        return self

    def _places(self) -> dict[Combination, int]:
        """Combination to set; read again after a checkpoint was loaded."""
        if self._index is None:
            rows = self.points.tolist()
            self._index = {tuple(row): i for i, row in enumerate(rows) if row[0] >= 0}
        return self._index

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        self._index = None
        super()._load_from_state_dict(*args, **kwargs)

    def steps(self, point: Combination) -> int:
        """Weight steps that a combination has had; 0 where it has no set."""
        place = self._places().get(point)
        return 0 if place is None else int(self.trained[place])

    def of(self, point: Combination) -> WeightSet:
        """The combination's set, made from its best trained neighbor where it has none."""
        places = self._places()
        if point not in places:
            self._admit(point)
        return cast(WeightSet, self.sets[places[point]])

    def count_step(self, point: Combination) -> None:
        """Notes that a combination is about to take a weight step."""
        place = self._places()[point]
        self.trained[place] += 1
        self.used[place] = int(self.used.max()) + 1

    @torch.no_grad()
    def _admit(self, point: Combination) -> None:
        places = self._places()

        def far(other: Combination) -> tuple[int, int, int]:
            """In switches; ties by steps, then, as in a resumed search, by place."""
            switches = sum(a != b for a, b in zip(other, point, strict=True))
            return switches, -self.steps(other), places[other]

        nearest = min(places, key=far, default=None)
        place = int(self.used.argmin())  # free sets were never used
        if nearest is not None and places[nearest] == place:
            place = int(torch.argsort(self.used, stable=True)[1])
        evicted = tuple(self.points[place].tolist())
        if nearest is not None:
            self.sets[place].load_state_dict(self.sets[places[nearest]].state_dict())
            self._inherit(cast(WeightSet, self.sets[place]), point, nearest)
        places.pop(evicted, None)
        places[point] = place
        self.points[place] = torch.tensor(point)
        self.trained[place] = 0
        self.used[place] = int(self.used.max()) + 1
