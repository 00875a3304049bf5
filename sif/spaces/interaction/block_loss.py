"""Exact losses over blocks of users, in the memory of one block.

A loss is a mean over observed pairs, or a sum over all pairs, of terms of one user each. So it is
the sum of the losses of blocks of users, each times its share of the pairs. A block's loss needs
its own users' rows and the items. Items with encoders read all users: what they sum up is computed
first, a block at a time, and is the same for all blocks. `block_sum` gives such sums their exact
gradient, for which blocks run again one by one: as in checkpointing (Chen et al., 2016), nothing of
a block outlives it. Where scores have factors a block's part of the exact loss is that over its
pairs and all items; elsewhere it is the part of the drawn batch that its users have.

Several processes that share the work have some of the blocks each, and add up what they find. Of a
batch that is a block itself each has some of the users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sif.spaces.interaction.embeddings import GivenRows, TableRows, Tables
from sif.spaces.interaction.encoders import BlockHistories, Encoder, Histories, encoded
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.losses import Batch, LossKind, LossSettings, Scored
from sif.spaces.interaction.pair_blocks import PairBlocks
from sif.utils.ranks import shared_by, sharing

Given = Sequence[Tensor | None]
Summand = Callable[[int, Given], Tensor]
"""The number of a block and what all blocks are given, to what is summed over blocks."""


def block_sum(
    function: Summand, count: int, given: Given, leaves: Iterable[Tensor], once: bool = False,
    apart: bool = False,
) -> Tensor:  # fmt: skip
    """The sum over blocks of a function, differentiable in the memory of one block.

    Args:
        function: Of a block. It reads the tensors that it is given, and leaves of its own.
        count: Number of blocks.
        given: What the function is given, computed from the leaves or not; None stays None.
        leaves: Those that the function reads itself, gates among them. Gradients by some of their
            rows may be sparse.
        once: Whether gradients are taken with the sum, which has to be a scalar. Otherwise
            the function runs again when they are asked for.
        apart: Whether every process has something else given, whose gradient is its own.

    Returns:
        The sum. Its gradient is exact.
    """
    wanted = [leaf for leaf in dict.fromkeys(leaves) if leaf.requires_grad]
    work = _Work(function, count, wanted, once, apart)
    if not torch.is_grad_enabled():
        return work.value(given)
    result: Tensor = _BlockSum.apply(work, len(given), *given, *wanted)
    return result


@dataclass(frozen=True, eq=False)
class _Work:
    """A sum over blocks, see `block_sum`."""

    function: Summand
    count: int
    leaves: Sequence[Tensor]
    once: bool
    apart: bool

    @torch.no_grad()
    def value(self, given: Given) -> Tensor:
        """The sum alone."""
        total: Tensor | None = None
        for number in self._own:
            part = self.function(number, given)
            total = part if total is None else total + part
        if total is None:
            total = torch.zeros_like(self.function(0, given))
        sharing().add(total)
        return total

    @property
    def _own(self) -> range:
        """Numbers of the blocks that are this process's."""
        return sharing().own(range(self.count))

    def gradients(
        self, given: Given, upstream: Tensor | None
    ) -> tuple[Tensor, list[Tensor | None]]:
        """The sum, and its gradient by each tensor given, then by each leaf; None: it is 0.

        Args:
            given: Leaves themselves.
            upstream: Derivative by the sum; None: 1.
        """
        inputs = [*given, *self.leaves]
        read = [k for k, one in enumerate(inputs) if one is not None and one.requires_grad]
        found: list[Tensor | None] = [None] * len(inputs)
        total: Tensor | None = None
        for number in self._own:
            with torch.enable_grad():
                part = self.function(number, given)
            value = part.detach()
            total = value if total is None else total + value
            if not part.requires_grad:
                continue
            asked: Any = [inputs[k] for k in read]
            parts = torch.autograd.grad(part, asked, upstream, allow_unused=True)
            for place, change in zip(read, parts, strict=True):
                if change is not None:
                    found[place] = _added(found[place], change, inputs[place])
        if sharing().count > 1:
            total = self._of_all(total, given, found, inputs)
        assert total is not None  # noqa: S101
        return total, found

    def _of_all(
        self, total: Tensor | None, given: Given, found: list[Tensor | None], inputs: Given
    ) -> Tensor:
        """The sum over all processes; changes the gradients to those of all."""
        ranks = sharing()
        if total is None:
            with torch.no_grad():
                total = torch.zeros_like(self.function(0, given))
        has = torch.tensor([float(one is not None) for one in found], device=total.device)
        ranks.add(total, has)
        shared = []
        for place, count in enumerate(has.tolist()):
            if not count or (self.apart and place < len(given)):
                continue
            like, one = inputs[place], found[place]
            assert like is not None  # noqa: S101
            if one is None:
                one = torch.zeros_like(like, memory_format=torch.contiguous_format)
            shared.append(one)
            found[place] = one
        ranks.add(*shared)
        return total


def _added(total: Tensor | None, change: Tensor, like: Tensor | None) -> Tensor:
    """A dense sum of gradients, some of which have only some rows."""
    assert like is not None  # noqa: S101
    if total is None:
        total = torch.zeros_like(like, memory_format=torch.contiguous_format)
    if change.is_sparse:
        change = change.coalesce()
        return total.index_add_(0, change.indices()[0], change.values())
    return total.add_(change)


class _BlockSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, work: _Work, n_given: int, *tensors: Any) -> Any:
        ctx.set_materialize_grads(False)
        ctx.ranks = sharing()  # threads of autograd do not know it
        needs = ctx.needs_input_grad[2:]
        ctx.work = work
        ctx.given = [
            None if one is None else one.detach().requires_grad_(need)
            for one, need in zip(tensors[:n_given], needs, strict=False)
        ]
        ctx.found = None
        if not work.once:
            return work.value(ctx.given)
        total, ctx.found = work.gradients(ctx.given, None)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (upstream,), found = grads, ctx.found
        if upstream is None:
            return (None,) * len(ctx.needs_input_grad)
        if found is None:
            with shared_by(ctx.ranks):
                found = ctx.work.gradients(ctx.given, upstream)[1]
        else:
            found = [None if one is None else one.mul_(upstream) for one in found]
        ctx.work = ctx.given = ctx.found = None  # frees what they hold
        return None, None, *found


@dataclass(frozen=True, eq=False)
class Unit:
    """The part of a loss that is computed at once: that of a block.

    Attributes:
        block: Its number.
        batch: Rows of its users, who count from the first of them.
        share: Of the observed rows.
        exact: Whether the rows are all pairs of the block, or drawn ones.
        whole: Whether the exact loss is wanted where there is one.
    """

    block: int
    batch: Batch
    share: float
    exact: bool
    whole: bool

    def value(self, kind: LossKind, scored: Scored, settings: LossSettings) -> Tensor:
        """The part of a loss; 0 where the loss reads other rows."""
        if self.exact != (self.whole and kind.graph and scored.is_factorized):
            return self.batch.target.new_zeros(())
        if not (len(self.batch.ids) or kind.background):
            return self.batch.target.new_zeros(())
        return self.share * kind(scored, self.batch, settings)


class Units:
    """The units of a batch: blocks with all of their pairs, blocks with drawn rows, or both.

    Args:
        batch: The whole batch.
        blocks: The train part.
        exact: Whether some loss is exact over all pairs.
        drawn: Whether some loss reads the rows of the batch.
    """

    def __init__(self, batch: Batch, blocks: PairBlocks, exact: bool, drawn: bool) -> None:
        self._batch, self._blocks = batch, blocks
        self._n_exact = len(blocks) if exact else 0
        self._n_drawn = len(blocks) if drawn and batch.draw is not None else 0
        self._rows: list[tuple[int, Tensor, Tensor]] = []
        if drawn and batch.draw is None:
            rows = _by_block(batch.ids, blocks)
            background = _by_block(batch.background, blocks)
            both = enumerate(zip(rows, background, strict=True))
            self._rows = [(k, r, b) for k, (r, b) in both if len(r) or len(b)]

    def __len__(self) -> int:
        """Number of units."""
        return self._n_exact + self._n_drawn + len(self._rows)

    def __getitem__(self, number: int) -> Unit:
        """A unit, made anew."""
        whole, draw = self._batch.blocks is not None, self._batch.draw
        if number < self._n_exact:
            return Unit(number, self._all_pairs(number), self._share(number), True, whole)
        if draw is not None:
            block = number - self._n_exact
            return Unit(block, draw(block), self._share(block), False, whole)
        block, rows, background = self._rows[number - self._n_exact]
        share = max(len(rows), 1) / len(self._batch.ids)
        users = self._blocks.blocks[block].users
        batch = self._batch.of_users(users, rows, background, share)
        return Unit(block, batch, share, False, whole)

    def _share(self, block: int) -> float:
        """The share of all pairs that a block has."""
        return len(self._blocks.blocks[block]) / self._blocks.pairs

    def _all_pairs(self, number: int) -> Batch:
        block, like = self._blocks.blocks[number], self._batch
        ids = block.graph.ids()
        nothing = ids[:0]
        return Batch(
            ids, block.target, ids[:, :0], nothing, block.target[:0], block.graph,
            like.observed_in_background, block.rows, like.in_history, age=block.age,
        )  # fmt: skip


def _by_block(ids: Tensor, blocks: PairBlocks) -> tuple[Tensor, ...]:
    """Places of the rows (n, k) of each block, in their order."""
    block = blocks.block_of(ids[:, 0])
    sizes = torch.bincount(block, minlength=len(blocks)).tolist()
    places: tuple[Tensor, ...] = torch.argsort(block, stable=True).split(sizes)
    return places


UserVectors = Callable[[Tables, BlockHistories], Tensor]
"""Vectors (b, d) of a block's users, before propagation."""
UnitLoss = Callable[[Unit, Tables, BlockHistories], Tensor]


@dataclass(frozen=True, eq=False)
class BlockedFunction:
    """A function over the train part in blocks.

    Attributes:
        tables: Of all users and items.
        histories: Of the train part, in blocks.
        leaves: Everything that is trained or gated in the function.
        item_history: Whether items may be encoded by their users.
        users: For propagation, which sums users' vectors up; None: there is none.
    """

    tables: Tables
    histories: Histories
    leaves: Sequence[Tensor]
    item_history: bool
    users: UserVectors | None = None

    def sum(self, units: Units, loss: UnitLoss) -> Tensor:
        """The sum of a loss over units."""
        histories, blocks = self.histories, self.histories.blocks
        assert blocks is not None  # noqa: S101
        history = neighbors = None
        if self.item_history:
            history = histories.of_all_users(self.tables.histories[1])
        users = self.users
        if users is not None:

            def to_items(number: int, _: Given) -> Tensor:
                local = histories.block(number)
                tables = TableRows(self.tables, blocks.blocks[number].rows)
                return local.to_items(users(tables, local))

            neighbors = block_sum(to_items, len(blocks), [], self.leaves)

        def of_unit(number: int, given: Given) -> Tensor:
            unit = units[number]
            local = histories.block(unit.block, *given)
            tables = TableRows(self.tables, blocks.blocks[unit.block].rows)
            return loss(unit, tables, local)

        return block_sum(of_unit, len(units), [history, neighbors], self.leaves, once=True)


def network_loss(
    network: InteractionNetwork, batch: Batch, kind: LossKind, settings: LossSettings
) -> tuple[Tables, Tensor]:
    """The tables that a batch reads of a network, and its loss.

    Args:
        network: With histories where it encodes.
        batch: Of all users, or of some with all of their pairs.
        kind: The loss.
        settings: Its numbers, with weights of all users.
    """
    weighting, histories = settings.weighting, network.histories

    def within(rows: Tensor | None) -> LossSettings:
        return replace(settings, weighting=None if weighting is None else weighting.within(rows))

    if batch.share is not None:
        return _sum_of_shares(network, batch, kind, within(batch.rows))
    if batch.rows is not None or histories is None or histories.blocks is None:
        scored = network.interaction(batch.rows, batch.graph)
        return scored.tables, kind(scored, batch, within(batch.rows))

    def of_unit(unit: Unit, tables: Tables, local: Encoder) -> Tensor:
        return unit.value(kind, network.over(tables, local), within(unit.batch.rows))

    def users(tables: Tables, local: Encoder) -> Tensor:
        return encoded(tables, local, 0, network.shape.encoding(0)).table

    design = network.design
    exact = batch.blocks is not None and kind.graph and design.factorizes
    units = Units(batch, histories.blocks, exact, not exact)
    function = BlockedFunction(
        network.tables, histories, list(network.parameters()),
        network.shape.encoding(1) != "id", users if design.graph else None,
    )  # fmt: skip
    return network.tables, function.sum(units, of_unit)


def _sum_of_shares(
    network: InteractionNetwork, batch: Batch, kind: LossKind, settings: LossSettings
) -> tuple[Tables, Tensor]:
    """`network_loss` of a block, of whose users each of several processes has some."""
    rows, share = batch.rows, batch.share
    assert rows is not None and share is not None  # noqa: S101
    taken, histories = TableRows(network.tables, rows), None
    if network.histories is not None and batch.graph is not None:
        histories = network.histories.within(rows, batch.graph)

    def of_share(_: int, given: Given) -> Tensor:
        if not (len(batch.ids) or kind.background):
            return batch.target.new_zeros(())
        return share * kind(network.over(GivenRows(taken, given), histories), batch, settings)

    users = {id(one) for one in network.tables.of_users()}
    leaves = [one for one in network.parameters() if id(one) not in users]
    first = [*taken.embeddings[:1], *taken.biases[:1]]
    return taken, block_sum(of_share, sharing().count, first, leaves, once=True, apart=True)
