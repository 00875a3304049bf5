"""Encoders turn ids into vectors for interaction functions: lookup, history, propagation.

A field's vector is its row of an id table, or a weighted sum over the pairs that the row has in the
train part (a user by his items, as in FISM and SVD++; an item by its users), or both; light graph
propagation (He et al., LightGCN, SIGIR 2020) then mixes in the vectors of the neighbors. In
training, a pair must not be predicted from itself: `Vectors` remembers what each pair contributed
to its own two vectors, so that a loss can leave it out. With products as interaction that is the
zero diagonal of EASE (Steck, WWW 2019), in low rank and for both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sif.errors import ShapeError
from sif.spaces.interaction.embeddings import Tables
from sif.spaces.interaction.pair_products import PairGraph, PairSums

ENCODINGS = ("id", "history", "both")
"""id: a row of a table. history: the sum over the row's pairs. both: the sum of the two."""


@dataclass(frozen=True, eq=False)
class SelfContribution:
    """The part of a vector that a pair contributes: scale[row] * table[row of the other field].

    The scale is (n_f,), the table (n_other, d).
    """

    scale: Tensor
    table: Tensor


@dataclass(frozen=True, eq=False)
class Vectors:
    """A field's encoded table.

    Attributes:
        table: (n_f, d).
        own: Contributions of a pair of the train part to its own vector.
    """

    table: Tensor
    own: tuple[SelfContribution, ...] = ()

    def leave_one_out(self, rows: Tensor, others: Tensor) -> Tensor:
        """(n, d) at pairs of the train part, each without what the pair itself contributed."""
        result = self.table[rows]
        for own in self.own:
            result = result - own.scale[rows][:, None] * own.table[others]
        return result


class Histories:
    """The pairs of the train part as histories of both fields.

    Args:
        graph: The pairs, rows of the first field by rows of the second.
        like: Any tensor of the dtype and device of the tables.
        power: A history is the sum over its pairs times count^-power: 0.5 in SVD++ (Koren, KDD
            2008), 0 a plain sum, 1 a mean.
    """

    def __init__(self, graph: PairGraph, like: Tensor, power: float = 0.5) -> None:
        self._sums = PairSums(graph, like)
        counts = [
            torch.bincount(ids, minlength=n).to(like)
            for ids, n in zip((graph.rows, graph.columns), graph.shape, strict=True)
        ]
        self._scale = [_inverse(count, power) for count in counts]
        self._norm = [_inverse(count, 0.5) for count in counts]

    def encode(self, field: int, table: Tensor) -> Vectors:
        """A field's history vectors (n_f, d) from a table (n_other, d) of the other field."""
        scale = self._scale[field]
        return Vectors(
            scale[:, None] * self._sums.of(field, table), (SelfContribution(scale, table),)
        )

    def normalized(self, field: int, table: Tensor) -> Tensor:
        """Rows of a field times count^-1/2, as propagation sums them up; 0 without a pair."""
        return self._norm[field][:, None] * table

    def propagate(self, fields: Sequence[Vectors]) -> list[Vectors]:
        """The mean of each vector and its neighbors' sum, normalized as in LightGCN."""
        scaled = [self.normalized(field, v.table) for field, v in enumerate(fields)]
        result = []
        for field, vectors in enumerate(fields):
            norm, other = self._norm[field], scaled[1 - field]
            mixed = 0.5 * (vectors.table + norm[:, None] * self._sums.of(field, other))
            own = [SelfContribution(0.5 * o.scale, o.table) for o in vectors.own]
            result.append(Vectors(mixed, (*own, SelfContribution(0.5 * norm, other))))
        return result


def needed(histories: Histories | None) -> Histories:
    """The histories; ShapeError where there are none."""
    if histories is None:
        raise ShapeError("encoding: expected the train part's histories, found none")
    return histories


def encoded(tables: Tables, histories: Histories | None, field: int, encoding: str) -> Vectors:
    """A field's vectors under an encoding, from tables that hold what it needs.

    Raises:
        ShapeError: The encoding needs histories and there are none.
    """
    embedding = tables.embeddings[field]
    if encoding == "id":
        return Vectors(embedding)
    history = needed(histories).encode(field, tables.histories[field])
    return history if encoding == "history" else Vectors(embedding + history.table, history.own)


def encoded_fields(
    tables: Tables, histories: Histories | None, encodings: Sequence[str], graph: bool
) -> list[Vectors]:
    """The vectors of all fields under their encodings, propagated where `graph` says so.

    Raises:
        ShapeError: Histories are needed and there are none.
    """
    vectors = [encoded(tables, histories, f, encoding) for f, encoding in enumerate(encodings)]
    return needed(histories).propagate(vectors) if graph else vectors


def _inverse(count: Tensor, power: float) -> Tensor:
    return torch.where(count > 0, count.clamp(min=1) ** -power, 0.0)
