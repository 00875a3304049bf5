"""Items that are drawn to stand for those that a user has not had.

A loss that compares an observed item with others sees drawn ones where it cannot see all: all
alike, in proportion to a power of their popularity in the train part (word2vec; Mikolov et al.,
NIPS 2013), or the items of the batch's rows (in-batch, as in two-tower models; Yi et al., RecSys
2019). Popularity counts train pairs alone, and so do the batches of a training, so that nothing is
drawn from what comes later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

REDRAWS = 3
"""Times that a drawn item is drawn again if the row's user has had it: at a tenth observed, one in
ten thousand remains."""
FLATTENING = 0.75
"""Power of popularity by which items are drawn (word2vec; Mikolov et al., NIPS 2013)."""

Sampling = Literal["uniform", "popularity", "in-batch"]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Items that stand for the catalog.

    Attributes:
        items: (k,) int64, with replacement.
        often: (k,) expected number of draws of each.
        complete: Whether they are every item, once.
    """

    items: Tensor
    often: Tensor
    complete: bool = False

    @classmethod
    def every(cls, often: Tensor) -> Drawn:
        """Every item once, from ones (n_items,)."""
        return cls(torch.arange(len(often), device=often.device), often, complete=True)

    def first(self, count: int) -> Drawn:
        """The first draws alone, or all of a complete catalog."""
        if self.complete or count >= len(self.items):
            return self
        share = count / len(self.items)
        return Drawn(self.items[:count], self.often[:count] * share)


def drawn_by(chances: Tensor, count: int, draws: torch.Generator) -> Drawn:
    """Items drawn with replacement.

    Args:
        chances: (n_items,) of each, which sum to 1.
        count: Draws.
        draws: On the device of `chances`.
    """
    found = torch.multinomial(chances, count, replacement=True, generator=draws)
    return Drawn(found, count * chances[found])


def flattened(counts: Tensor, power: float = FLATTENING) -> Tensor:
    """Chances (n_items,) in proportion to counts^power; items without a pair count as one half.

    Examples:
        >>> flattened(torch.tensor([9.0, 4.0]), power=0.5).tolist()
        [0.6000000238418579, 0.4000000059604645]
    """
    weights = counts.clamp(min=0.5) ** power
    return weights / weights.sum()


@dataclass(frozen=True, eq=False)
class NegativeSampler:
    """Draws items.

    Attributes:
        n_items: Of the catalog.
        chances: (n_items,) of each draw; None: all alike.
        from_batch: Whether items of the batch's rows are drawn; `chances` are those over batches.
    """

    n_items: int
    chances: Tensor | None = None
    from_batch: bool = False

    @classmethod
    def of(
        cls, sampling: Sampling, counts: Tensor, power: float = FLATTENING
    ) -> NegativeSampler:  # fmt: skip
        """The sampler of a name.

        Args:
            sampling: uniform, popularity or in-batch.
            counts: (n_items,) train pairs of each.
            power: Of popularity.
        """
        if sampling == "in-batch":  # of which a pair that comes later may have an unknown item
            chances = counts.clamp(min=0.5) / counts.sum().clamp(min=0.5)
            return cls(len(counts), chances, from_batch=True)
        return cls(len(counts), flattened(counts, power) if sampling == "popularity" else None)

    def draw(self, shape: tuple[int, ...], draws: torch.Generator, batch: Tensor) -> Tensor:
        """Items of a shape.

        Args:
            shape: Of the result.
            draws: On the device of the result.
            batch: (b,) items of the batch's rows.
        """
        if self.from_batch:
            places = torch.randint(len(batch), shape, generator=draws, device=draws.device)
            return batch[places]
        if self.chances is None:
            return torch.randint(self.n_items, shape, generator=draws, device=draws.device)
        count = int(torch.Size(shape).numel())
        if not count:
            return torch.zeros(shape, dtype=torch.int64, device=draws.device)
        return torch.multinomial(self.chances, count, replacement=True, generator=draws).view(shape)

    def per_row(
        self, ids: Tensor, count: int, draws: torch.Generator,
        is_observed: Callable[[Tensor], Tensor],
    ) -> Tensor:  # fmt: skip
        """Items (b, count) that are not observed with their row, but for a few unlucky draws.

        Args:
            ids: (b, k) int64 rows.
            count: Items of each.
            draws: On the device of the ids.
            is_observed: Tells of ids (n, k) which ones (n,) are.
        """
        shape, batch = (len(ids), count), ids[:, 1]
        items = self.draw(shape, draws, batch)
        for _ in range(REDRAWS if count else 0):
            rows = ids.repeat_interleave(count, dim=0)
            rows[:, 1] = items.reshape(-1)
            known = is_observed(rows).view(shape)
            # Drawing for all rows keeps the random stream independent of the data.
            again = self.draw(shape, draws, batch)
            items = torch.where(known, again, items)
        return items

    def shared(self, batch: Tensor, count: int, draws: torch.Generator, like: Tensor) -> Drawn:
        """Items that all rows of a batch are compared with.

        Args:
            batch: (b,) items of its rows.
            count: Draws; the number of items or more: every item once.
            draws: On the device of the ids.
            like: Of the dtype of the scores.
        """
        if self.from_batch and self.chances is not None:
            # Over all batches (Yi et al., RecSys 2019), so that they stand for the catalog; by
            # this batch alone they would stand for its own items.
            items = self.draw((count,), draws, batch)
            return Drawn(items, (count * self.chances[items]).to(like))
        if count >= self.n_items:
            return Drawn.every(like.new_ones(self.n_items))
        if self.chances is not None:
            drawn = drawn_by(self.chances, count, draws)
            return Drawn(drawn.items, drawn.often.to(like))
        items = self.draw((count,), draws, batch)
        return Drawn(items, like.new_full((count,), count / self.n_items))
