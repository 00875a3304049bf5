"""Batches of whole users: a block of users with all of their pairs, in bounded memory.

A part is cut once into blocks of random users with nearly equal numbers of pairs; a pass visits
every block once, in a new order. Over a block the whole-data loss is exact (all of the block's
users against all items), so that the blocks' losses, weighted by their pairs, sum to the loss of
the whole part, and only a block's users need their rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sif.core.stream import Permutation
from sif.spaces.interaction.batches import Drawing, PartTensors, drawn_batch, draws_beside
from sif.spaces.interaction.losses import Batch
from sif.spaces.interaction.pair_blocks import BlockPart, sorted_graph
from sif.spaces.interaction.pair_products import PairGraph
from sif.utils.ranks import sharing

STEPS = 64
"""Blocks that a large part is cut into. With their number fixed, the cost of a step for the items
grows with the items, not with items times pairs, and a pass stays linear in the data."""
MIN_PAIRS_PER_ITEM = 128
"""A step costs about pairs x d and items x d^2, so that with this many pairs per item the second
stays of the order of the first. It also keeps the items' gradients steady: with 16 pairs per item
the same passes ended at a validation RMSE of .63 instead of .54 (docs/results/growth.md)."""
MAX_ELEMENTS = 1 << 25
"""Numbers of a block for losses that gather vectors: 128 MB a tensor, about six of them."""


def block_pairs(pairs: int, items: int, gathered: int = 0) -> int:
    """The number of pairs that a block should have.

    Args:
        pairs: Of the part.
        items: Size of the second field.
        gathered: Numbers gathered per pair (vectors x dimensions); 0 for exact losses.
    """
    size = max(pairs // STEPS, MIN_PAIRS_PER_ITEM * items)
    return max(1, min(size, MAX_ELEMENTS // gathered) if gathered else size)


class BlockStream:
    """Endless blocks of one part with two fields.

    In a batch the first field's ids count within the block; `Batch.rows` are its users.

    Where several processes share the work, each has the same users of every block, and its batches
    are these users' part of the block.

    Args:
        part: The observed rows.
        pairs: Observed rows per block, about; a user's rows stay together.
        drawing: Numbers of negatives and background pairs to draw.
        generator: On the CPU; groups the users, orders the blocks and seeds the draws.

    Attributes:
        owned: (n_users,) bool, the users of this process; None: it has all.
    """

    def __init__(
        self, part: PartTensors, pairs: int, drawing: Drawing, generator: torch.Generator
    ) -> None:
        self._drawing, self._sampler = drawing, drawing.sampler(part)
        self._draws = draws_beside(generator, part.ids.device)
        self._blocks = _cut(part, pairs, generator)
        ranks, graphs = sharing(), [graph for _, graph, *_ in self._blocks]
        self._parts: list[BlockPart] = []
        self.owned: Tensor | None = None
        if ranks.count > 1:
            self._parts = [BlockPart.of(graph, ranks.number, ranks.count) for graph in graphs]
            self.owned = torch.zeros(part.sizes[0], dtype=torch.bool, device=part.ids.device)
            for (rows, *_), own in zip(self._blocks, self._parts, strict=True):
                self.owned[rows[own.users]] = True
        self._order = Permutation(len(self._blocks), 1, generator)

    @property
    def steps_per_pass(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    def next(self) -> Batch:
        """The next block."""
        number = int(self._order.next())
        if not self._parts:
            return self._batch(*self._blocks[number])
        part = self._parts[number]
        if not self._drawing.draws:
            return self._own(part, *self._blocks[number])
        return self._batch(*self._blocks[number]).own(part)

    def _own(
        self, part: BlockPart, rows: Tensor, graph: PairGraph, target: Tensor, age: Tensor | None
    ) -> Batch:
        """The part of a block that nothing is drawn for."""
        ids, pairs = part.graph.ids(), part.pairs
        return Batch(
            ids, target[pairs], ids[:, :0], ids[:0], target[:0], part.graph, rows=rows[part.users],
            age=None if age is None else age[pairs], share=part.share(graph),
        )  # fmt: skip

    def _batch(
        self, rows: Tensor, graph: PairGraph, target: Tensor, age: Tensor | None
    ) -> Batch:  # fmt: skip
        """A block with what is drawn for it."""
        return drawn_batch(rows, graph, target, age, self._drawing, self._sampler, self._draws)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the batches to come."""
        return {"order": self._order.state_dict(), "draws": self._draws.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken; the blocks themselves follow from the seed."""
        self._order.load_state_dict(state["order"])
        self._draws.set_state(state["draws"])


def _cut(
    part: PartTensors, pairs: int, generator: torch.Generator
) -> list[tuple[Tensor, PairGraph, Tensor, Tensor | None]]:
    """Users (b,), graph, target and age of each block; users without pairs belong to one too."""
    n_users, n_items = part.sizes
    device, total = part.ids.device, len(part.ids)
    shuffled = torch.randperm(n_users, generator=generator).to(device)
    counts = torch.bincount(part.ids[:, 0], minlength=n_users)
    n_blocks = max(1, round(total / pairs))
    # Block of each user by where the middle of his pairs falls among all pairs.
    middle = counts[shuffled].cumsum(0) - counts[shuffled] // 2
    block = torch.empty(n_users, dtype=torch.int64, device=device)
    block[shuffled] = ((middle - 1).clamp(min=0) * n_blocks // total).clamp(max=n_blocks - 1)
    # A user larger than a block leaves blocks without pairs; theirs join the block before.
    filled = torch.bincount(block, weights=counts.double(), minlength=n_blocks) > 0
    block = (filled.cumsum(0) - 1).clamp(min=0)[block]
    users = torch.argsort(block, stable=True)  # by block, ascending within
    place = torch.empty_like(users)
    place[users] = torch.arange(n_users, device=device)
    keys = place[part.ids[:, 0]].mul_(n_items).add_(part.ids[:, 1])  # in place: they may be many
    order = torch.argsort(keys)
    del keys
    blocks = []
    sizes = torch.bincount(block).tolist()
    lengths = [int(block.sum()) for block in counts[users].split(sizes)]
    places = torch.arange(max(lengths), device=device)
    for own, chosen in zip(users.split(sizes), order.split(lengths), strict=True):
        rows = torch.repeat_interleave(counts[own])
        columns = part.ids[chosen, 1].long()
        graph = sorted_graph(rows, columns, (len(own), n_items), places[: len(chosen)])
        age = None if part.age is None else part.age[chosen]
        blocks.append((own, graph, part.target[chosen], age))
    return blocks
