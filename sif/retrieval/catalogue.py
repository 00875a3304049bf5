"""All items of an interaction function, prepared to be scored for any users.

A function is a sum of parts (`operations`). Parts with factors become one matrix product, biases
included; `sif.retrieval.kernels` adds the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sif.retrieval.kernels import Broadcast, Maxima, compiled
from sif.spaces.interaction.embeddings import clip_readout
from sif.spaces.interaction.function import Interaction
from sif.spaces.interaction.operations import Operation, shares


@dataclass(frozen=True, eq=False)
class Users:
    """Prepared users: the left side (b, r) of the matrix product, and the input of each kernel."""

    left: Tensor
    sides: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class _Part:
    """An operation that is not a sum, with its part w of the readout."""

    operation: Operation
    readout: Tensor

    def factors(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """A (b, r) and B (m, r) of the matrix product."""
        assert self.operation.factors is not None  # noqa: S101
        return self.operation.factors(p, q, self.readout)

    def combined(self, p: Tensor, q: Tensor) -> Tensor:
        """w^T O(p, q) of vectors that broadcast."""
        return self.operation.combine((p, q)) @ self.readout


@dataclass(frozen=True, eq=False)
class _Added:
    """A part without factors: the transformed users for it, and the kernel that adds it."""

    side: Callable[[Tensor], Tensor]
    kernel: Maxima | Broadcast


class Catalogue:
    """Items, biases and readout of a function of two fields; a copy of what it needs.

    Attributes:
        n_items: Items.
        device: Device that computes the scores.
        is_personalized: Whether the order of the items depends on the user.
    """

    def __init__(self, interaction: Interaction) -> None:
        self._transform, tables = interaction.transforms[0], interaction.tables
        items = interaction.table(1).detach().float()
        self.n_items, self.device = len(items), items.device
        readout = clip_readout(interaction.readout).detach().float()
        shared = shares(interaction.operation, readout, items.shape[1])
        parts = [_Part(operation, share) for operation, share in shared]
        self.is_personalized = not all(part.operation.additive for part in parts)
        self._products = [part for part in parts if part.operation.factors is not None]
        self._added = [_added(part, items) for part in parts if part.operation.factors is None]
        self._intercept = tables.intercept.detach().float().clone()
        self._no_items = items[:0]
        bias = torch.zeros_like(items[:, 0])
        if tables.biases:
            bias = bias + tables.biases[1].detach().float()
        # Users' and items' offsets are two more columns: (offset, 1) . (1, offset).
        factors = [part.factors(items[:0], items)[1] for part in self._products]
        offsets = torch.stack([torch.ones_like(bias), bias], dim=1)
        self._right = torch.cat([*factors, offsets], dim=1)

    def users(self, vectors: Tensor, biases: Tensor | None) -> Users:
        """Users ready for `write`: vectors (b, d) before the transform, biases (b,) or None."""
        p = self._transform(vectors.to(self.device)).float()
        offset = self._intercept.expand(len(p))
        if biases is not None:
            offset = offset + biases.to(offset)
        factors = [part.factors(p, self._no_items)[0] for part in self._products]
        offsets = torch.stack([offset, torch.ones_like(offset)], dim=1)
        left = torch.cat([*factors, offsets], dim=1)
        return Users(left, tuple(added.side(p) for added in self._added))

    def write(self, users: Users, start: int, stop: int, out: Tensor) -> None:
        """Writes scores of items start..stop into the first columns of out (b, any) float32."""
        scores, right = out[:, : stop - start], self._right[start:stop]
        if self._products:
            torch.mm(users.left, right.T, out=scores)
        else:
            torch.add(users.left[:, :1], right[:, 1], out=scores)
        for added, side in zip(self._added, users.sides, strict=True):
            added.kernel.add(side, start, stop, out)


def _added(part: _Part, items: Tensor) -> _Added:
    maxima: Any = part.operation.maxima
    if maxima is None or items.device.type != "cpu" or compiled() is None:
        return _Added(lambda p: p, Broadcast(part.combined, items))
    _, right, weights = maxima(items[:0], items, part.readout)
    return _Added(lambda p: maxima(p, items[:0], part.readout)[0], Maxima(right, weights))
