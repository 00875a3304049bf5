"""Encoders turn ids into vectors for interaction functions: lookup, history, propagation.

A field's vector is its row of an id table, or a weighted sum over the pairs that the row has in the
train part (a user by his items, as in FISM and SVD++; an item by its users), or both; light graph
propagation (He et al., LightGCN, SIGIR 2020) then mixes in the vectors of the neighbors. In
training, a pair must not be predicted from itself: `Vectors` remembers what each pair contributed
to its own two vectors, so that a loss can leave it out. With products as interaction that is the
zero diagonal of EASE (Steck, WWW 2019), in low rank and for both sides.

Large train parts come in blocks of users. A block's users need the tables of the items and their
own pairs; what items get of users are sums over all blocks, which are the same in each
(`sif.spaces.interaction.block_loss`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sif.errors import ShapeError
from sif.spaces.interaction.embeddings import Tables
from sif.spaces.interaction.pair_blocks import BlockedSums, PairBlocks
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


class _Sums(Protocol):
    """Sums over the pairs of each user (side 0) and of each item (side 1)."""

    def of(self, side: int, table: Tensor) -> Tensor:
        """Sums of a table (n_other, d) over what each row of a side has: (n, d)."""
        ...


class Encoder:
    """Vectors of both fields from the pairs of the train part.

    Args:
        sums: Over pairs, of histories.
        neighbors: The same, of propagation.
        scale: (n_f,) by which histories of each field are multiplied.
        norm: (n_f,) count^-1/2 of the rows of each field; 0 without a pair.
    """

    def __init__(
        self, sums: _Sums, neighbors: _Sums, scale: Sequence[Tensor], norm: Sequence[Tensor]
    ) -> None:
        self._sums, self._neighbors = sums, neighbors
        self._scale, self._norm = scale, norm

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
            mixed = 0.5 * (vectors.table + norm[:, None] * self._neighbors.of(field, other))
            own = [SelfContribution(0.5 * o.scale, o.table) for o in vectors.own]
            result.append(Vectors(mixed, (*own, SelfContribution(0.5 * norm, other))))
        return result


class Histories(Encoder):
    """The pairs of the train part as histories of both fields.

    Args:
        graph: The pairs, rows of the first field by rows of the second; in blocks where they are
            many.
        like: Any tensor of the dtype and device of the tables.
        power: A history is the sum over its pairs times count^-power: 0.5 in SVD++ (Koren, KDD
            2008), 0 a plain sum, 1 a mean.

    Attributes:
        blocks: The pairs, where they come in blocks of users; None: as a whole.
    """

    def __init__(self, graph: PairGraph | PairBlocks, like: Tensor, power: float = 0.5) -> None:
        self.blocks = graph if isinstance(graph, PairBlocks) else None
        if isinstance(graph, PairBlocks):
            self._blocked = BlockedSums(graph, like)
            sums: _Sums = self._blocked
            counts = [count.to(like) for count in graph.counts()]
        else:
            sums = PairSums(graph, like)
            counts = [
                torch.bincount(ids, minlength=n).to(like)
                for ids, n in zip((graph.rows, graph.columns), graph.shape, strict=True)
            ]
        scale = [_inverse(count, power) for count in counts]
        super().__init__(sums, sums, scale, [_inverse(count, 0.5) for count in counts])

    def of_all_users(self, table: Tensor) -> Tensor:
        """Sums of a table (n_users, d) over the users of each item: (n_items, d)."""
        return self._sums.of(1, table)

    def within(self, rows: Tensor, graph: PairGraph) -> BlockHistories:
        """The histories of some users, whose items are looked up by id.

        Args:
            rows: (b,) int64 of the users.
            graph: All of their pairs; users count within `rows`.
        """
        return self._within(rows, PairSums(graph, self._scale[0]))

    def block(
        self, number: int, history: Tensor | None = None, neighbors: Tensor | None = None
    ) -> BlockHistories:
        """The histories as one of the blocks sees them.

        Args:
            number: Of the block.
            history: (n_items, d) sums over all users that items' histories have; None: items have
                no history.
            neighbors: The same of what propagation sums up; None: nothing is propagated.
        """
        assert self.blocks is not None  # noqa: S101
        block = self.blocks.blocks[number]
        return self._within(block.users, self._blocked.of_blocks[number], history, neighbors)

    def _within(
        self, rows: Tensor | slice, own: PairSums, history: Tensor | None = None,
        neighbors: Tensor | None = None,
    ) -> BlockHistories:  # fmt: skip
        (user, item), (user_norm, item_norm) = self._scale, self._norm
        return BlockHistories(
            own, history, neighbors, (user[rows], item), (user_norm[rows], item_norm)
        )


class BlockHistories(Encoder):
    """The pairs of some users as their histories, and what all users' pairs sum up to.

    Args:
        own: Sums over the pairs of these users.
        history: (n_items, d) sums over the pairs of all users, of items' histories.
        neighbors: The same of propagation.
        scale: See `Encoder`, of these users and all items.
        norm: The same.
    """

    def __init__(
        self, own: PairSums, history: Tensor | None, neighbors: Tensor | None,
        scale: Sequence[Tensor], norm: Sequence[Tensor],
    ) -> None:  # fmt: skip
        super().__init__(_OfAll(own, history), _OfAll(own, neighbors), scale, norm)
        self._own = own

    def to_items(self, users: Tensor) -> Tensor:
        """The part of these users' vectors (b, d) in the neighbors' sums of items: (n_items, d)."""
        return self._own.of(1, self.normalized(0, users))


@dataclass(frozen=True, eq=False)
class _OfAll:
    """Sums of some users over their own pairs, and of the items over those of all users."""

    own: PairSums
    of_items: Tensor | None

    def of(self, side: int, table: Tensor) -> Tensor:
        """Sums of a side; those of items are given, whatever the table of these users."""
        if side == 0:
            return self.own.of(0, table)
        if self.of_items is None:
            raise ShapeError("encoding: expected sums over all users, found a block of them alone")
        return self.of_items


def needed(histories: Encoder | None) -> Encoder:
    """The histories; ShapeError where there are none."""
    if histories is None:
        raise ShapeError("encoding: expected the train part's histories, found none")
    return histories


def encoded(tables: Tables, histories: Encoder | None, field: int, encoding: str) -> Vectors:
    """A field's vectors under an encoding, from tables that hold what it needs.

    Where the tables have features of the field, these add their part, before any propagation. A
    pair contributes nothing to it.

    Raises:
        ShapeError: The encoding needs histories and there are none.
    """
    vectors, described = _encoded(tables, histories, field, encoding), tables.of_features(field)
    return vectors if described is None else Vectors(vectors.table + described, vectors.own)


def _encoded(tables: Tables, histories: Encoder | None, field: int, encoding: str) -> Vectors:
    """The same without what features add."""
    embedding = tables.embeddings[field]
    if encoding == "id":
        return Vectors(embedding)
    history = needed(histories).encode(field, tables.histories[field])
    return history if encoding == "history" else Vectors(embedding + history.table, history.own)


def encoded_fields(
    tables: Tables, histories: Encoder | None, encodings: Sequence[str], graph: bool
) -> list[Vectors]:
    """The vectors of all fields under their encodings, propagated where `graph` says so.

    Raises:
        ShapeError: Histories are needed and there are none.
    """
    vectors = [encoded(tables, histories, f, encoding) for f, encoding in enumerate(encodings)]
    return needed(histories).propagate(vectors) if graph else vectors


def _inverse(count: Tensor, power: float) -> Tensor:
    return torch.where(count > 0, count.clamp(min=1) ** -power, 0.0)
