"""An interaction function applied to embeddings: f(u, v) = c + b_u + b_v + w^T O(P(u), Q(v)).

`Tables` holds what belongs to the data (embeddings, biases), `Interaction` puts a function on top
of tables and scores pairs, and `InteractionNetwork` is the module that a genotype describes. All
are written for k fields; only whole-catalogue products (`factors`) ask for two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sif.pairs import PairGraph, pair_products
from sif.rows import take_rows
from sif.spaces.elementwise import Elementwise
from sif.spaces.operations import Factors, Operation


@dataclass(frozen=True)
class TableShape:
    """Sizes and switches of the tables, and how they start.

    Attributes:
        sizes: Rows per field.
        dimension: Embedding dimensions d.
        biases: Whether every row has a bias.
        intercept: Whether there is a constant c.
        init: Deviation of the initial embeddings.
        mixed_signs: Readouts start at +1, -1, +1, ... instead of all at +1. On rating data a
            mixture fits better; with all +1, max and min differ in kind (convex, concave).
    """

    sizes: tuple[int, ...]
    dimension: int
    biases: bool = False
    intercept: bool = False
    init: float = 0.1
    mixed_signs: bool = True

    def initial_readout(self, operation: Operation) -> Tensor:
        """(width * d,) start of an operation's readout."""
        readout = torch.ones(operation.width(len(self.sizes)) * self.dimension)
        if self.mixed_signs:
            readout[1::2] = -1.0
        return readout


class Tables(nn.Module):
    """Embeddings, biases and the constant of one model.

    Args:
        shape: Sizes and switches.
        generator: Draws the embeddings, N(0, init^2); biases and constant start at 0.
    """

    def __init__(self, shape: TableShape, generator: torch.Generator) -> None:
        super().__init__()
        self.embeddings = nn.ParameterList(
            nn.Parameter(torch.randn(n, shape.dimension, generator=generator) * shape.init)
            for n in shape.sizes
        )
        self.biases = nn.ParameterList(
            nn.Parameter(torch.zeros(n)) for n in (shape.sizes if shape.biases else ())
        )
        self.has_intercept = shape.intercept
        self.intercept = nn.Parameter(torch.zeros(()), requires_grad=shape.intercept)

    def offset(self, ids: Tensor) -> Tensor:
        """Constant and biases, c + b_u + b_v, at ids (n, k): (n,); the scalar c without biases."""
        total = self.intercept
        for field, bias in enumerate(self.biases):
            total = total + bias[ids[:, field]]
        return total

    def squared_norm(self, strengths: Sequence[Tensor]) -> Tensor:
        """sum_f sum_i strengths[f][i] (|e_i|^2 + b_i^2), for strengths (n_f,) per field."""
        rows = [(e * e).sum(dim=1) for e in self.embeddings]
        rows = [r + b * b for r, b in zip(rows, self.biases, strict=True)] if self.biases else rows
        return torch.stack([s @ r for s, r in zip(strengths, rows, strict=True)]).sum()


class TableRows(Tables):
    """Some rows of the first field and all of the others, as tables of their own.

    Gradients reach the first field's table as sparse tensors of those rows; see `sif.rows`.

    Args:
        whole: The tables; they keep the parameters.
        rows: (b,) int64, ascending and distinct; ids of the first field count within them.
    """

    def __init__(self, whole: Tables, rows: Tensor) -> None:
        nn.Module.__init__(self)
        self.embeddings: Any = [take_rows(whole.embeddings[0], rows), *whole.embeddings[1:]]
        first = [take_rows(bias, rows) for bias in whole.biases[:1]]
        self.biases: Any = [*first, *whole.biases[1:]]
        self.has_intercept, self.intercept = whole.has_intercept, whole.intercept


def bounded(readout: Tensor) -> Tensor:
    """The readout scaled to entries of at most 1 in size.

    SIF constrains |w| <= 1 (WWW 2020, equation 3): otherwise w grows, the embeddings shrink, and
    their L2 penalty means nothing.
    """
    return readout / readout.detach().abs().max().clamp(min=1.0)


class Interaction:
    """A function over tables: scores pairs, and factors the whole catalogue where it can.

    Made anew for every loss: it keeps the transformed tables, which the next step outdates.

    Args:
        tables: Embeddings and biases.
        transforms: Element-wise function of each field.
        operation: The vector-wise operation.
        readout: (width * d,) weights w, used as `bounded(readout)`.
    """

    def __init__(
        self,
        tables: Tables,
        transforms: Sequence[Elementwise],
        operation: Operation,
        readout: Tensor,
    ) -> None:
        self.tables = tables
        self.transforms = tuple(transforms)
        self.operation = operation
        self.readout = readout
        self._tables: dict[int, Tensor] = {}

    def table(self, field: int) -> Tensor:
        """A field's whole transformed table (n_f, d), computed once per interaction."""
        if field not in self._tables:
            self._tables[field] = self.transforms[field](self.tables.embeddings[field])
        return self._tables[field]

    def fields(self, ids: Tensor) -> list[Tensor]:
        """Transformed embeddings (n, d) of each field at ids (n, k)."""
        result = []
        for field, embedding in enumerate(self.tables.embeddings):
            rows = ids[:, field]
            # A field with fewer rows than pairs is cheaper to transform before the look-up.
            few = len(embedding) <= len(rows)
            result.append(
                self.table(field)[rows] if few else self.transforms[field](embedding[rows])
            )
        return result

    def features(self, ids: Tensor) -> Tensor:
        """O(P(u), Q(v)) at ids (n, k): (n, width * d)."""
        return self.operation.combine(self.fields(ids))

    def interact(self, ids: Tensor) -> Tensor:
        """w^T O(P(u), Q(v)) at ids (n, k): (n,)."""
        return self.features(ids) @ bounded(self.readout)

    def combine_broadcast(self, *fields: Tensor) -> Tensor:
        """w^T O(...) of already transformed vectors (..., d) that broadcast: (...)."""
        return self.operation.combine(fields) @ bounded(self.readout)

    def pairs(self, ids: Tensor) -> Tensor:
        """Scores (n,) at ids (n, k)."""
        return self.interact(ids) + self.tables.offset(ids)

    def factors(self) -> Factors | None:
        """A (n, r), B (m, r) with scores A @ B.T, offsets included; None where there is no form."""
        if self.operation.factors is None or len(self.transforms) != 2:
            return None
        p, q = self.table(0), self.table(1)
        a, b = self.operation.factors(p, q, bounded(self.readout))
        if not self.tables.biases and not self.tables.has_intercept:
            return a, b
        user = self.tables.intercept.expand(len(p))
        item = torch.zeros_like(q[:, 0])
        if self.tables.biases:
            user, item = user + self.tables.biases[0], item + self.tables.biases[1]
        ones_p, ones_q = torch.ones_like(user), torch.ones_like(item)
        left = torch.cat([a, torch.stack([user, ones_p], dim=1)], dim=1)
        return left, torch.cat([b, torch.stack([ones_q, item], dim=1)], dim=1)

    def on_graph(self, graph: PairGraph) -> Tensor:
        """Scores (n,) at a graph's pairs, in its row order, by factors where there are any."""
        factors = self.factors()
        if factors is None:
            return self.pairs(torch.stack([graph.rows, graph.columns], dim=1).long())
        return pair_products(*factors, graph)


class InteractionNetwork(nn.Module):
    """The network that a genotype describes, to be trained from scratch.

    Args:
        shape: Sizes and switches of the tables.
        transforms: Element-wise function of each field; modules among them must be frozen.
        operation: The vector-wise operation.
        generator: Draws the embeddings.
    """

    def __init__(
        self,
        shape: TableShape,
        transforms: Sequence[Elementwise],
        operation: Operation,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.tables = Tables(shape, generator)
        self.readout = nn.Parameter(shape.initial_readout(operation))
        self.frozen = nn.ModuleList(t for t in transforms if isinstance(t, nn.Module))
        self._transforms = tuple(transforms)
        self._operation = operation

    def interaction(self, rows: Tensor | None = None) -> Interaction:
        """The function over this network's tables, or over some `rows` of the first field's."""
        tables = self.tables if rows is None else TableRows(self.tables, rows)
        return Interaction(tables, self._transforms, self._operation, self.readout)

    def forward(self, ids: Tensor) -> Tensor:
        """Scores (n,) at ids (n, k)."""
        return self.interaction().pairs(ids)
