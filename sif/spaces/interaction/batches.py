"""Endless batches of interactions for the objectives, drawn from tensors on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sif.core.stream import Permutation
from sif.spaces.interaction.losses import Batch
from sif.spaces.interaction.negatives import FLATTENING, NegativeSampler, Sampling
from sif.spaces.interaction.pair_blocks import PairBlocks
from sif.spaces.interaction.pair_products import PairGraph, pair_graph


@dataclass(frozen=True, eq=False)
class PartTensors:
    """A part of a split on the device.

    Attributes:
        ids: (n, k) int64, or int32 where the part was read by pieces.
        target: (n,) standardized ratings, or ones.
        sizes: Rows of each field.
        age: (n,) of the pairs, in shares of the part's time; None: not known.
    """

    ids: Tensor
    target: Tensor
    sizes: tuple[int, ...]
    age: Tensor | None = None

    def graph(self) -> PairGraph | None:
        """The part's pairs as a sparse matrix; None for other than two fields."""
        return (
            pair_graph(self.ids, (self.sizes[0], self.sizes[1])) if len(self.sizes) == 2 else None
        )


@dataclass(frozen=True)
class Drawing:
    """Numbers of the rows that a stream draws beside the observed ones.

    Attributes:
        negatives: Items per observed row, for the pairwise losses.
        background: Random combinations per observed row, for the whole-data loss.
        shared: Items per batch that stand for the catalog; batches then are whole users. 0: none.
        sampling: How items are drawn.
        power: Of popularity, where that says how.
    """

    negatives: int = 0
    background: int = 0
    shared: int = 0
    sampling: Sampling = "uniform"
    power: float = FLATTENING

    @property
    def draws(self) -> bool:
        """True if anything is drawn."""
        return bool(self.negatives or self.background or self.shared)

    def sampler(self, part: PartTensors) -> NegativeSampler:
        """The sampler of items, which counts the pairs of a part."""
        counts = torch.bincount(part.ids[:, 1], minlength=part.sizes[1]).to(part.target)
        return NegativeSampler.of(self.sampling, counts, self.power)


class UserRows:
    """Endless random batches of rows: users with all of their rows, each user once per pass.

    Args:
        users: (n,) of the rows.
        batch_size: Rows of a batch, in the mean; n or more: all, every time.
        generator: On the CPU.
    """

    def __init__(self, users: Tensor, batch_size: int, generator: torch.Generator) -> None:
        found, counts = torch.unique(users.cpu(), return_counts=True)
        self._rows = torch.argsort(users.cpu(), stable=True)
        self._starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        size = max(1, round(batch_size * len(found) / len(users)))
        self._users = Permutation(len(found), size, generator)
        self.batch_size = len(users) if size >= len(found) else 0
        self.steps_per_pass = self._users.steps_per_pass

    def next(self) -> Tensor:
        """Numbers of the rows (b,), on the CPU."""
        users = self._users.next()
        starts = self._starts[users]
        counts = self._starts[users + 1] - starts
        first = torch.repeat_interleave(starts - (counts.cumsum(0) - counts), counts)
        return self._rows[first + torch.arange(len(first))]

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the batches to come."""
        return self._users.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self._users.load_state_dict(state)


class InteractionStream:
    """Endless batches of one part.

    Args:
        part: The observed rows.
        batch_size: Observed rows per batch.
        drawing: Numbers of negatives and background pairs to draw.
        generator: On the CPU; orders the rows and seeds the draws.
        known: Other observed parts. A drawn combination that is observed in `part` or `known` is
            not a negative; without `known` the background stands for all combinations, observed
            ones included, as in training.
        observed_total: Number of observed rows whose share of the background a row carries: the
            train part's, so that validation weighs negatives as training did.
        exact: Whether batches carry the part's graph, for losses over the whole part.
        in_history: Whether the part is the train part, whose pairs encoders know.
        blocks: The part in blocks of users, which batches then carry in place of the graph.
        by_block: These blocks, where a batch is the whole part and too large to be drawn for at
            once (`Batch.draw`).
    """

    def __init__(
        self,
        part: PartTensors,
        batch_size: int,
        drawing: Drawing,
        generator: torch.Generator,
        known: Sequence[PartTensors] = (),
        observed_total: int | None = None,
        exact: bool = False,
        in_history: bool = True,
        blocks: PairBlocks | None = None,
        by_block: PairBlocks | None = None,
    ) -> None:
        self._part, self._by_block = part, by_block
        self._rows: Permutation | UserRows = (
            UserRows(part.ids[:, 0], batch_size, generator)
            if drawing.shared
            else Permutation(len(part.ids), batch_size, generator)
        )
        self._drawing = drawing
        # Popularity of the train part: also where another part is judged.
        self._sampler = drawing.sampler(known[0] if known else part)
        self._draws = draws_beside(generator, part.ids.device)
        combinations = float(torch.tensor(part.sizes, dtype=torch.float64).prod())
        self._scale = combinations / (observed_total or len(part.ids))
        reads_known = (known or drawing.negatives) and by_block is None
        self._observed = _keys((part, *known)) if reads_known else None
        self._background_has_observed = not known
        self._graph = part.graph() if exact and blocks is None else None
        self._blocks = blocks if exact else None
        self._in_history = in_history
        whole = self._rows.batch_size == len(part.ids) and by_block is None
        self._whole = (part.ids.long(), part.target, part.age) if whole else None

    @property
    def steps_per_pass(self) -> int:
        """Batches in one pass over the part."""
        return self._rows.steps_per_pass

    def next(self) -> Batch:
        """The next batch."""
        if self._by_block is not None:
            return self._drawn_later(self._by_block)
        ids, target, age = self._whole or self._observed_rows()
        background, weight = self._background(len(ids))
        negatives = self._sampler.per_row(
            ids, self._drawing.negatives, self._draws, self._is_observed
        )
        shared = None
        if self._drawing.shared:
            shared = self._sampler.shared(ids[:, 1], self._drawing.shared, self._draws, target)
        return Batch(
            ids, target, negatives, background, weight, self._graph, self._background_has_observed,
            in_history=self._in_history, graph_target=self._part.target, age=age,
            graph_age=self._part.age, shared=shared, blocks=self._blocks,
        )  # fmt: skip

    def _drawn_later(self, blocks: PairBlocks) -> Batch:
        """The whole part; the batches of its blocks follow from one seed, in any order."""
        part, device = self._part, self._part.ids.device
        seed = int(torch.randint(1 << 62, (1,), generator=self._draws, device=device))

        def draw(number: int) -> Batch:
            block, draws = blocks.blocks[number], torch.Generator(device).manual_seed(seed + number)
            pairs = block.rows, block.graph, block.target, block.age
            return drawn_batch(*pairs, self._drawing, self._sampler, draws)

        return Batch(
            part.ids, part.target, part.ids[:, :0], part.ids[:0], part.target[:0],
            in_history=self._in_history, blocks=self._blocks, draw=draw,
        )  # fmt: skip

    def _is_observed(self, ids: Tensor) -> Tensor:
        if self._observed is None:
            return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        return among(self._observed, _key(ids, self._part.sizes))

    def _observed_rows(self) -> tuple[Tensor, Tensor, Tensor | None]:
        part = self._part
        rows = self._rows.next().to(part.ids.device, non_blocking=True)
        age = None if part.age is None else part.age[rows]
        return part.ids[rows].long(), part.target[rows], age

    def _background(self, rows: int) -> tuple[Tensor, Tensor]:
        n = rows * self._drawing.background
        drawn = draw_background(self._part.sizes, n, self._draws)
        weight = torch.full(
            (n,), self._scale / max(n, 1), dtype=self._part.target.dtype, device=drawn.device
        )
        if not self._background_has_observed and n:
            weight = torch.where(self._is_observed(drawn), 0.0, weight)
        return drawn, weight

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the batches to come."""
        return {"rows": self._rows.state_dict(), "draws": self._draws.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self._rows.load_state_dict(state["rows"])
        self._draws.set_state(state["draws"])


def drawn_batch(
    rows: Tensor, graph: PairGraph, target: Tensor, age: Tensor | None, drawing: Drawing,
    sampler: NegativeSampler, draws: torch.Generator,
) -> Batch:  # fmt: skip
    """A block of users with all of their pairs, and what is drawn for it.

    Args:
        rows: (b,) int64, the users.
        graph: Their pairs; users count within `rows`.
        target: (n,) of the pairs, in the graph's order.
        age: (n,) of the pairs, or None.
        drawing: Numbers of negatives and background pairs to draw.
        sampler: Of items.
        draws: On the device.
    """
    ids, n_items = graph.ids(), graph.shape[1]
    sizes = (len(rows), n_items)
    known = ids[:, 0] * n_items + ids[:, 1]  # ascending, as the graph is
    negatives = sampler.per_row(
        ids, drawing.negatives, draws,
        lambda drawn: among(known, drawn[:, 0] * n_items + drawn[:, 1]),
    )  # fmt: skip
    shared = None
    if drawing.shared:
        shared = sampler.shared(ids[:, 1].long(), drawing.shared, draws, target)
    background = draw_background(sizes, len(ids) * drawing.background, draws)
    share = sizes[0] * sizes[1] / len(ids) / max(len(background), 1)
    weight = torch.full_like(background[:, 0], share, dtype=target.dtype)
    return Batch(
        ids, target, negatives, background, weight, graph, rows=rows, age=age, shared=shared
    )


def draws_beside(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """A generator on the device for the rows beside the observed ones, seeded by theirs."""
    return torch.Generator(device).manual_seed(generator.initial_seed() ^ 0x5EED)


def among(known: Tensor, keys: Tensor) -> Tensor:
    """Mask (n,) of the keys (n,) that are in `known`, which is ascending."""
    return known[torch.searchsorted(known, keys).clamp(max=len(known) - 1)] == keys


def draw_background(sizes: Sequence[int], n: int, draws: torch.Generator) -> Tensor:
    """Combinations (n, k) int64 drawn uniformly from all, on the generator's device."""
    columns = [torch.randint(size, (n,), generator=draws, device=draws.device) for size in sizes]
    return torch.stack(columns, dim=1)


def _key(ids: Tensor, sizes: Sequence[int]) -> Tensor:
    """One number per combination: (n, k) to (n,)."""
    key = ids[:, 0].long()
    for field in range(1, len(sizes)):
        key = key * sizes[field] + ids[:, field]
    return key


def _keys(parts: Sequence[PartTensors]) -> Tensor:
    keys: Tensor = torch.cat([_key(part.ids, part.sizes) for part in parts]).unique()
    return keys
