"""Blocks of users that functions with histories are trained and searched in, by their memory.

`train.block_bytes` bounds the memory of a step beside the tables and the pairs themselves. The
estimate is that of the largest step: functions without a product form gather vectors for each pair
that they score, others a few numbers for each pair of the train part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from torch import Tensor

from sif.spaces.interaction.batches import PartTensors
from sif.spaces.interaction.encoders import Histories
from sif.spaces.interaction.pair_blocks import PairBlocks, cut

EXACT_NUMBERS = 26
"""Numbers per train pair of an exact loss over factors: scores with and without a pair's own part,
their terms and gradients."""
GATHERED_VECTORS, DRAWN_VECTORS = 12, 3
"""Vectors that are gathered for an observed pair, with and without its own part, and for each drawn
one: the sides, what they combine to, and gradients."""
USER_VECTORS = 8
"""Vectors per user: encoded ones, their factors, and gradients."""


def gathered_numbers(drawn: int, dimension: int) -> int:
    """Numbers of a step for each observed pair whose vectors are gathered.

    Args:
        drawn: Combinations that are drawn for each.
        dimension: Of the vectors.
    """
    return (GATHERED_VECTORS + DRAWN_VECTORS * drawn) * dimension


def _size(count: float) -> str:
    """Bytes for people, such as "3.9 GB"."""
    name, unit = next((one for one in _UNITS if count >= one[1]), _UNITS[-1])
    return f"{count / unit:.1f} {name}"


_UNITS = (("GB", 2**30), ("MB", 2**20), ("kB", 2**10))


@dataclass(frozen=True)
class StepSize:
    """Sizes of the steps of a search or a training.

    Attributes:
        pairs: Observed rows of a step.
        drawn: Combinations that are drawn for each of them.
        dimension: Of the vectors.
    """

    pairs: int
    drawn: int
    dimension: int


@dataclass(frozen=True, eq=False)
class BlockPlan:
    """Blocks of users, each as large as its memory allows.

    Attributes:
        counts: (n_users,) train pairs of each user.
        steps: Of search and training.
        itemsize: Bytes of a number.
        most: Bytes of a block's step (`train.block_bytes`).
        least: Blocks that there are at least, if there are users for them: one for each process.
    """

    counts: Tensor
    steps: Sequence[StepSize]
    itemsize: int
    most: int
    least: int = 1

    @property
    def _pair_bytes(self) -> float:
        """Of a train pair, in the largest step."""
        total = max(1, int(self.counts.sum()))
        numbers = [float(EXACT_NUMBERS)]
        for step in self.steps:
            gathered = gathered_numbers(step.drawn, step.dimension)
            numbers.append(gathered * min(1.0, step.pairs / total))
        return self.itemsize * max(numbers)

    @property
    def _user_bytes(self) -> float:
        return float(self.itemsize * USER_VECTORS * max(step.dimension for step in self.steps))

    @cached_property
    def bounds(self) -> list[int]:
        """First users of the blocks, and the number of users."""
        whole = int(self.counts.sum()) * self._pair_bytes + len(self.counts) * self._user_bytes
        most = min(self.most, whole / self.least)
        return cut(self.counts, self._pair_bytes, self._user_bytes, most)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self.bounds) - 1

    @property
    def bytes(self) -> float:
        """Estimate of the largest block."""
        needs = self.counts.double() * self._pair_bytes + self._user_bytes
        return max(float(needs[a:b].sum()) for a, b in pairwise(self.bounds))

    def scored_rows(self, dimension: int) -> int:
        """Rows whose vectors of so many dimensions may be gathered at once."""
        return max(1, self.most // (self.itemsize * gathered_numbers(0, dimension)))

    @property
    def told(self) -> str:
        """On one line."""
        number = "1 block" if self.blocks == 1 else f"{self.blocks:,} blocks"
        return (
            f"{int(self.counts.sum()):,} interactions in {number} of users, "
            f"about {_size(self.bytes)} at most for a step over one"
        )

    def histories(self, part: PartTensors, power: float) -> Histories:
        """The pairs of a part as encoders see them, in blocks if there are several."""
        if self.blocks > 1:
            shape = (part.sizes[0], part.sizes[1])
            pairs = PairBlocks(part.ids, part.target, part.age, shape, self.bounds)
            return Histories(pairs, part.target, power)
        graph = part.graph()
        assert graph is not None  # noqa: S101
        return Histories(graph, part.target, power)
