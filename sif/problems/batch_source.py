"""Batches of interactions with what any of some losses reads beside the observed rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sif.config import CFConfig
from sif.problems.history_blocks import EXACT_NUMBERS, BlockPlan, StepSize, gathered_numbers
from sif.spaces.interaction.batches import Drawing, InteractionStream, PartTensors
from sif.spaces.interaction.encoders import Histories
from sif.spaces.interaction.losses import LossKind
from sif.spaces.interaction.user_blocks import MAX_ELEMENTS, BlockStream, block_pairs
from sif.utils.device import Runtime
from sif.utils.random import generator

MAX_EXACT = 2_000_000
"""Observed pairs up to which steps may be over the whole part with functions that look vectors up;
beyond, a step is over some users. With histories every size is exact."""
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

    @property
    def is_large(self) -> bool:
        """True if a pass has few steps, each over many pairs, whatever the size of a batch."""
        return self.sized_by > MAX_EXACT

    def step_pairs(
        self, batch_size: int | None, losses: Sequence[LossKind], searches: bool, encodes: bool
    ) -> int:
        """Observed rows of a step.

        Args:
            batch_size: That is asked for; None: all rows.
            losses: Those that the batches are for.
            searches: Whether a search takes the step.
            encodes: Whether functions may have encoders, with which every step is over all users.
        """
        rows = len(self.train.ids)
        size = rows if encodes and self.is_large else batch_size or rows
        if self.staged and searches:
            size = min(size, -(-rows // MIN_STEPS_PER_PASS))
        if any(loss.shared for loss in losses):
            size = min(size, self.fitting_pairs)
        return size

    def plan(self, losses: Sequence[LossKind]) -> BlockPlan:
        """Blocks of users for functions with encoders, searched for any of some losses."""
        counts = torch.bincount(self.train.ids[:, 0], minlength=self.train.sizes[0])
        drawing = self.drawing(losses)
        drawn = drawing.negatives + drawing.background
        steps = [
            StepSize(
                self.step_pairs(section.batch_size, losses, searches, True), drawn,
                section.dimension,
            )
            for section, searches in ((self.config.search, True), (self.config.train, False))
        ]  # fmt: skip
        itemsize = self.train.target.dtype.itemsize
        most, least = self.config.train.block_bytes, self.runtime.processes
        return BlockPlan(counts, steps, itemsize, most, least)

    def stream(
        self, part: str, batch_size: int | None, losses: Sequence[LossKind], *names: str | int,
        histories: Histories | None = None, factors: bool = False,
    ) -> InteractionStream:  # fmt: skip
        """Endless batches of "train" or "valid" for any of some losses.

        Args:
            part: Its name.
            batch_size: Rows of a batch; None: all.
            losses: Those that the batches are for.
            names: Key the draws; first of them "search" for a search.
            histories: Of functions with encoders, whose exact loss has no limit of size.
            factors: Whether all of them are products, with which a large exact loss draws nothing.
        """
        drawing, rows = self.drawing(losses), len(self.train.ids)
        draws = generator(self.runtime, *names, part, device=torch.device("cpu"))
        if part == "valid":
            size = batch_size or len(self.valid.ids)
            return InteractionStream(
                self.valid, size, drawing, draws, (self.train,), rows, in_history=False
            )
        encodes = histories is not None
        size = self.step_pairs(batch_size, losses, names[0] == "search", encodes)
        # Over the graph a loss is of all pairs, not of the batch.
        background = any(kind.background for kind in losses)
        pays = background or size == rows or self.staged
        fits = encodes or not self.is_large
        exact = any(kind.graph for kind in losses) and pays and fits
        blocks = None if histories is None else histories.blocks
        if exact and self.is_large and factors:
            drawing = self.drawing(losses, background=False)
        large = self.is_large and size == rows and not drawing.shared
        return InteractionStream(
            self.train, size, drawing, draws, exact=exact, blocks=blocks,
            by_block=blocks if large else None,
        )  # fmt: skip

    @property
    def fitting_pairs(self) -> int:
        """Pairs of whole users whose scores with the catalog fit into memory."""
        users, items = self.train.sizes[:2]
        return max(1, MAX_ELEMENTS * len(self.train.ids) // (users * items))

    def blocks(
        self, factors: bool, loss: LossKind, *names: str | int, encodes: bool = False
    ) -> BlockStream | None:
        """Endless blocks of the train part's users, see `InteractionProblem.blocks`."""
        part, settings = self.train, self.config.train
        if len(part.sizes) != 2 or (settings.block_pairs is None and not self.is_large):
            return None
        exact = factors and loss.graph
        drawing = self.drawing([loss], background=not exact)
        drawn = drawing.negatives + drawing.background
        gathered = 0 if exact else (1 + drawn) * settings.dimension
        size = settings.block_pairs or block_pairs(self.sized_by, part.sizes[1], gathered)
        if encodes:
            numbers = EXACT_NUMBERS if exact else gathered_numbers(drawn, settings.dimension)
            size = min(size, max(1, settings.block_bytes // (numbers * part.target.itemsize)))
        if drawing.shared:
            size = min(size, self.fitting_pairs)
        draws = generator(self.runtime, *names, "blocks", device=torch.device("cpu"))
        return BlockStream(part, size, drawing, draws)
