"""Batches of interactions with what any of some losses reads beside the observed rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sif.config import CFConfig
from sif.spaces.interaction.batches import Drawing, InteractionStream, PartTensors
from sif.spaces.interaction.losses import LossKind
from sif.spaces.interaction.user_blocks import MAX_ELEMENTS, BlockStream, block_pairs
from sif.utils.device import Runtime
from sif.utils.random import generator

MAX_EXACT = 2_000_000
"""Observed pairs up to which every batch may carry the whole part for the exact loss; beyond, the
train part comes in blocks of users."""
MIN_STEPS_PER_PASS = 6
"""Fewest steps per pass of a search over stages, for any batch size: on small data, too, every
combination needs enough steps to be judged."""


@dataclass(frozen=True, eq=False)
class BatchSource:
    """Batches of the parts of a problem.

    Attributes:
        train: Train part.
        valid: Validation part.
        sized_by: Pairs by which batches are sized: those of the first fit.
        config: Of the job.
        runtime: Device and seed.
        staged: Whether the space has stages.
    """

    train: PartTensors
    valid: PartTensors
    sized_by: int
    config: CFConfig
    runtime: Runtime
    staged: bool

    def drawing(self, losses: Sequence[LossKind], background: bool = True) -> Drawing:
        """Numbers of what batches bring beside observed rows, for any of some losses."""
        numbers = self.config.loss
        m = numbers.negatives
        return Drawing(
            m if any(loss.negatives for loss in losses) else 0,
            m if background and any(loss.background for loss in losses) else 0,
            numbers.samples if any(loss.shared for loss in losses) else 0,
            numbers.sampling, numbers.sampling_power,
        )  # fmt: skip

    def stream(
        self, part: str, batch_size: int | None, losses: Sequence[LossKind], *names: str | int
    ) -> InteractionStream:
        """Endless batches of "train" or "valid" for any of some losses; `names` key the draws."""
        drawing, rows = self.drawing(losses), len(self.train.ids)
        draws = generator(self.runtime, *names, part, device=torch.device("cpu"))
        if part == "valid":
            size = batch_size or len(self.valid.ids)
            return InteractionStream(
                self.valid, size, drawing, draws, (self.train,), rows, in_history=False
            )
        size = batch_size or rows
        if self.staged and names[0] == "search":
            size = min(size, -(-rows // MIN_STEPS_PER_PASS))
        if drawing.shared:
            size = min(size, self.fitting_pairs)
        # Over the graph a loss is of all pairs, not of the batch.
        background = any(kind.background for kind in losses)
        pays = background or size == rows or self.staged
        exact = any(kind.graph for kind in losses) and pays and self.sized_by <= MAX_EXACT
        return InteractionStream(self.train, size, drawing, draws, exact=exact)

    @property
    def fitting_pairs(self) -> int:
        """Pairs of whole users whose scores with the catalog fit into memory."""
        users, items = self.train.sizes[:2]
        return max(1, MAX_ELEMENTS * len(self.train.ids) // (users * items))

    def blocks(self, factors: bool, loss: LossKind, *names: str | int) -> BlockStream | None:
        """Endless blocks of the train part's users, see `InteractionProblem.blocks`."""
        part, requested = self.train, self.config.train.block_pairs
        if len(part.sizes) != 2 or (requested is None and self.sized_by <= MAX_EXACT):
            return None
        exact = factors and loss.graph
        drawing = self.drawing([loss], background=not exact)
        vectors = 1 + drawing.negatives + drawing.background
        gathered = 0 if exact else vectors * self.config.train.dimension
        size = requested or block_pairs(self.sized_by, part.sizes[1], gathered)
        if drawing.shared:
            size = min(size, self.fitting_pairs)
        draws = generator(self.runtime, *names, "blocks", device=torch.device("cpu"))
        return BlockStream(part, size, drawing, draws)
