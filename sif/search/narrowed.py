"""A space of which only some operations are searched: the others are never selected.

Methods and the loop see fewer operations. The space itself sees gates of all, those left out at 0,
so that a choice of operations is no concern of any space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sif.core.gates import Block, Gates, Probing, Selection
from sif.core.genotype import Genotype
from sif.core.space import Batch, CountsSteps, ReplacementScored, Rewarded, Space
from sif.errors import ConfigError
from sif.utils.registry import did_you_mean

Choices = Mapping[str, Sequence[str]]
"""Block to the names of its operations that are searched; blocks that are not named keep all."""


class NarrowedSpace(nn.Module):
    """Some operations of a space.

    Args:
        space: With all of them.
        choices: The operations that are kept.

    Raises:
        ConfigError: A block or an operation that the space does not have, or none is kept.
    """

    def __init__(self, space: Space, choices: Choices) -> None:
        super().__init__()
        _check(space.blocks, choices)
        self.space, self.name = space, space.name
        self._columns = {block.name: block.shape[1] for block in space.blocks}
        self._kept = {
            block.name: torch.tensor([
                k for k, operation in enumerate(block.operations)
                if operation in choices.get(block.name, block.operations)
            ])
            for block in space.blocks
        }  # fmt: skip
        self.blocks = tuple(_narrowed(block, self._kept[block.name]) for block in space.blocks)
        # What a space can do beside the protocol is asked by what it has.
        if isinstance(space, CountsSteps):
            self.count_step = self._count_step
        if isinstance(space, ReplacementScored):
            self.replacement_scores = self._replacement_scores
        if isinstance(space, Rewarded):
            self.rewarded = self._rewarded

    def full(self, gates: Gates) -> Gates:
        """Gates of all operations, with those left out at 0."""
        weights = {name: self._spread(name, table) for name, table in gates.weights.items()}
        active, probing = gates.active, gates.probing
        if active is not None:
            active = Selection(
                {
                    name: [int(self._kept[name][k]) if k >= 0 else -1 for k in edges]
                    for name, edges in active.items()
                }
            )
        if probing is not None:
            factors = {name: self._spread(name, one) for name, one in probing.factors.items()}
            probing = Probing(factors, probing.rows)
        return Gates(weights, active, probing)

    def _spread(self, name: str, table: Tensor) -> Tensor:
        """A table (n_edges, n_kept) as one of all operations, with the gradient of those kept."""
        kept = self._kept[name].to(table.device)
        return table.new_zeros(len(table), self._columns[name]).index_copy(1, kept, table)

    def weight_parameters(self) -> Sequence[nn.Parameter]:
        """Those of the space."""
        return self.space.weight_parameters()

    def arch_parameters(self) -> Sequence[nn.Parameter]:
        """Those of the space."""
        return self.space.arch_parameters()

    def reference_tensor(self) -> Tensor:
        """That of the space."""
        return self.space.reference_tensor()

    def loss(self, batch: Batch, gates: Gates) -> Tensor:
        """That of the space."""
        return self.space.loss(batch, self.full(gates))

    def regularizer(self, gates: Gates) -> Tensor:
        """That of the space."""
        return self.space.regularizer(self.full(gates))

    def genotype(self, gates: Gates) -> Genotype:
        """That of the space."""
        return self.space.genotype(self.full(gates))

    def _count_step(self, gates: Gates) -> None:
        assert isinstance(self.space, CountsSteps)  # noqa: S101
        self.space.count_step(self.full(gates))

    def _replacement_scores(
        self, train: Batch, valid: Batch, gates: Gates, alpha: Mapping[str, Tensor] | None = None
    ) -> Mapping[str, Tensor]:
        """Those of the space; where alpha is 0, as of all that is left out, it saves the time."""
        assert isinstance(self.space, ReplacementScored)  # noqa: S101
        told = {b.name: torch.ones(b.shape) for b in self.blocks} if alpha is None else alpha
        spread = {name: self._spread(name, table) for name, table in told.items()}
        scores = self.space.replacement_scores(train, valid, self.full(gates), spread)
        return {name: table[:, self._kept[name].to(table.device)] for name, table in scores.items()}

    def _rewarded(self, batch: Batch, gates: Gates) -> tuple[Tensor, Tensor]:
        assert isinstance(self.space, Rewarded)  # noqa: S101
        return self.space.rewarded(batch, self.full(gates))


def _check(blocks: Sequence[Block], choices: Choices) -> None:
    names = {block.name: block.operations for block in blocks}
    for name, operations in choices.items():
        where = f"search.choices.{name}"
        if name not in names:
            raise ConfigError(f"{where}: expected one of {', '.join(names)}, found {name!r}")
        if not operations:
            raise ConfigError(f"{where}: expected an operation at least, found none")
        for operation in operations:
            if operation not in names[name]:
                raise ConfigError(
                    f"{where}: expected some of {', '.join(names[name])}, found {operation!r}"
                    f"{did_you_mean(operation, names[name])}"
                )


def _narrowed(block: Block, kept: Tensor) -> Block:
    places = kept.tolist()
    operations = tuple(block.operations[k] for k in places)
    costs = block.costs and tuple(tuple(row[k] for k in places) for row in block.costs)
    default = block.default_op
    if default is not None and default not in operations:
        default = operations[0]
    return replace(block, operations=operations, costs=costs, default_op=default)


def narrowed(make: Callable[[bool], Space], choices: Choices) -> Callable[[bool], Space]:
    """A function that makes spaces, of which some operations are searched."""

    def made(mixed: bool) -> Space:
        return NarrowedSpace(make(mixed), choices)

    return made


def judging(judge: Callable[[Any, Gates], float]) -> Callable[[Any, Gates], float]:
    """A judge of narrowed spaces."""
    return lambda space, gates: judge(space.space, space.full(gates))
