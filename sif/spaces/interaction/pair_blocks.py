"""The train part's pairs in blocks of neighboring users, for sums over them in bounded memory.

A block has all pairs of some users that follow each other, so that every user has one block and the
rows of a table that belong to it are a slice. Pairs are held in int32, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from sif.spaces.interaction.pair_products import PairGraph, PairSums, starts
from sif.utils.ranks import shared_by, sharing


@dataclass(frozen=True, eq=False)
class PairBlock:
    """Some users with all of their pairs.

    Attributes:
        first: Number of the first user.
        graph: The pairs; users count from the first one.
        target: (n,) of the pairs, in the graph's order.
        age: (n,) of the pairs; None: not known.
    """

    first: int
    graph: PairGraph
    target: Tensor
    age: Tensor | None

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.graph)

    @property
    def users(self) -> slice:
        """Rows of a table that are the block's."""
        return slice(self.first, self.first + self.graph.shape[0])

    @property
    def rows(self) -> Tensor:
        """(b,) int64 numbers of the users, ascending."""
        return torch.arange(self.users.start, self.users.stop, device=self.target.device)


@dataclass(frozen=True, eq=False)
class BlockPart:
    """The users of a block that one of several processes works on, with all of their pairs.

    Attributes:
        users: Numbers within the block.
        pairs: Places in the block's graph.
        graph: Their pairs; users count from the first of them.
    """

    users: slice
    pairs: slice
    graph: PairGraph

    def share(self, graph: PairGraph) -> float:
        """Share of the pairs of a block's graph; of a part without any that of one, for sums."""
        return max(len(self.graph), 1) / len(graph)

    @classmethod
    def of(cls, graph: PairGraph, number: int, count: int) -> BlockPart:
        """One of so many parts of a block's graph, with nearly equal numbers of pairs."""
        ends = torch.arange(count + 1, device=graph.rows.device) * len(graph) // count
        bounds = torch.searchsorted(graph.row_start.long(), ends).tolist()
        bounds[0], bounds[-1] = 0, graph.shape[0]
        first, last = bounds[number], bounds[number + 1]
        begin, end = graph.row_start[[first, last]].tolist()
        rows, columns = graph.rows[begin:end] - first, graph.columns[begin:end]
        order = torch.arange(end - begin, device=rows.device)
        own = sorted_graph(rows.long(), columns.long(), (last - first, graph.shape[1]), order)
        return cls(slice(first, last), slice(begin, end), own)


def cut(counts: Tensor, pair_bytes: float, user_bytes: float, most: float) -> list[int]:
    """Bounds of blocks of users, each as large as memory allows.

    A block has one user at least, however large, and one pair at least: users without a pair join
    a block beside them.

    Args:
        counts: (n_users,) pairs of each user.
        pair_bytes: Memory of a pair at work.
        user_bytes: Memory of a user at work.
        most: Bytes of a block.

    Returns:
        First users of the blocks, and the number of users: ascending from 0.
    """
    needs = (counts.double() * pair_bytes + user_bytes).cumsum(0)
    total, bounds = counts.cumsum(0), [0]
    while bounds[-1] < len(counts):
        start = bounds[-1]
        before = float(needs[start - 1]) if start else 0.0
        end = int(torch.searchsorted(needs, before + most, right=True))
        end = max(end, start + 1)
        if start and int(total[end - 1]) == int(total[start - 1]):
            bounds.pop()  # no pair: these users join the block before
        bounds.append(end)
    if len(bounds) > 2 and not int(total[bounds[1] - 1]):
        del bounds[1]
    return bounds


class PairBlocks:
    """All pairs of a part with two fields, in blocks of users.

    Args:
        ids: (n, 2).
        target: (n,).
        age: (n,), or None.
        shape: Numbers of users and of items.
        bounds: First users of the blocks and the number of users, as `cut` gives them.

    Attributes:
        shape: Numbers of users and of items.
        blocks: In the order of their users.
    """

    def __init__(
        self, ids: Tensor, target: Tensor, age: Tensor | None, shape: tuple[int, int],
        bounds: Sequence[int],
    ) -> None:  # fmt: skip
        self.shape, self._pairs = shape, len(ids)
        users, items = ids[:, 0], ids[:, 1]
        keys = users.long() * shape[1]
        order = torch.argsort(keys.add_(items), stable=True)
        del keys
        counts = torch.bincount(users, minlength=shape[0])
        ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)])[list(bounds)].tolist()
        places = torch.arange(max(b - a for a, b in pairwise(ends)), device=ids.device)
        self.blocks: list[PairBlock] = []
        for (first, last), (begin, end) in zip(pairwise(bounds), pairwise(ends), strict=True):
            chosen = order[begin:end]
            rows, columns = users[chosen].long() - first, items[chosen].long()
            graph = sorted_graph(rows, columns, (last - first, shape[1]), places[: len(chosen)])
            own_age = None if age is None else age[chosen]
            self.blocks.append(PairBlock(first, graph, target[chosen], own_age))
        self._starts = torch.tensor(list(bounds[1:-1]), device=ids.device)

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def pairs(self) -> int:
        """Number of pairs of all blocks."""
        return self._pairs

    def block_of(self, users: Tensor) -> Tensor:
        """(n,) number of the block of each user (n,) int64."""
        return torch.searchsorted(self._starts, users.contiguous(), right=True)

    def counts(self) -> tuple[Tensor, Tensor]:
        """Pairs of each user and of each item."""
        graphs = [block.graph for block in self.blocks]
        of_items = torch.stack([g.column_start.diff() for g in graphs]).sum(0)
        return torch.cat([g.row_start.diff() for g in graphs]), of_items


def sorted_graph(rows: Tensor, columns: Tensor, shape: tuple[int, int], order: Tensor) -> PairGraph:
    """The graph of pairs that are sorted already, in int32 to hold many.

    Args:
        rows: (n,) int64, ascending.
        columns: (n,) int64, ascending within a row.
        shape: Numbers of rows and of columns.
        order: (n,) place of each pair in the caller's list.
    """
    transposed = torch.argsort(columns, stable=True).int()
    return PairGraph(
        shape, rows.int(), columns.int(), order,
        starts(rows, shape[0]).int(), transposed, starts(columns, shape[1]).int(),
    )  # fmt: skip


class BlockedSums:
    """`PairSums` of all pairs, a block at a time: none of its tensors has a number per pair.

    Args:
        blocks: The pairs.
        like: Any tensor of the dtype and device of the tables to come.
    """

    def __init__(self, blocks: PairBlocks, like: Tensor) -> None:
        ones = like.new_ones(max(map(len, blocks.blocks)))
        self.of_blocks = [PairSums(b.graph, like, ones[: len(b)]) for b in blocks.blocks]
        self._users, self._shape = [block.users for block in blocks.blocks], blocks.shape

    def of(self, side: int, table: Tensor) -> Tensor:
        """Sums of a table (n_other, d) over what each user (side 0) or item (1) has: (n, d)."""
        result: Tensor = _BlockedSums.apply(table, self, side)
        return result

    def summed(self, side: int, table: Tensor) -> Tensor:
        """`of` as numbers, without a gradient."""
        ranks = sharing()
        own = ranks.own(range(len(self.of_blocks)))
        rows = self._shape[side]
        total = table.new_zeros(rows, table.shape[1])
        for number in own:
            matrix, users = self.of_blocks[number].matrices[side], self._users[number]
            if side == 0:
                total[users] = matrix @ table
            else:
                total.add_(matrix @ table[users])
        ranks.add(total)
        return total


class _BlockedSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, sums: BlockedSums, side: int) -> Any:
        ctx.sums, ctx.side = sums, side
        ctx.ranks = sharing()  # threads of autograd do not know it
        return sums.summed(side, table)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        with shared_by(ctx.ranks):
            return ctx.sums.summed(1 - ctx.side, grads[0].contiguous()), None, None
