"""A loss of scored pairs: what it reads, what it declares, and the common parts of several.

A loss sees a scored function and a batch, never a gate or an architecture. Each is a file of this
package, which cites where it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from sif.spaces.interaction.losses.weighting import Weighting
from sif.spaces.interaction.negatives import Drawn
from sif.spaces.interaction.pair_blocks import BlockPart, PairBlocks
from sif.spaces.interaction.pair_products import PairGraph
from sif.utils.registry import check_fields


class Scored(Protocol):
    """A function that scores combinations of ids, such as an `Interaction`."""

    def pairs(self, ids: Tensor, observed: bool = False) -> Tensor:
        """Scores (n,) at ids (n, k); `observed` pairs without their own part in the encoders."""
        ...

    def factors(self) -> tuple[Tensor, Tensor] | None:
        """A, B with all scores A @ B.T, or None."""
        ...

    def on_graph(self, graph: PairGraph) -> Tensor:
        """Scores (n,) at the pairs of a graph."""
        ...

    @property
    def is_factorized(self) -> bool:
        """True if a few matrix products give losses over a whole part, for all pairs at once."""
        ...

    @property
    def uses_history(self) -> bool:
        """True if scores at train pairs contain a part that these pairs contributed."""
        ...

    def own_on_graph(self, graph: PairGraph) -> Tensor | None:
        """The part of scores (n,) that the graph's pairs contributed; None for nothing."""
        ...


_SMALLEST_WEIGHT = 1e-3
"""Weight of an observed pair in a readout fit, at least: with 0 the problem has no minimum."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Interactions of one step, on the device.

    Attributes:
        ids: (b, k) observed.
        target: (b,) standardized ratings; ones where there are none.
        negatives: (b, m) items drawn uniformly for each observed row, for the pairwise losses.
        background: (p, k) drawn uniformly from all combinations, for the whole-data loss.
        background_weight: (p,) weight of each drawn combination, per observed pair; 0 for
            combinations that must not count as negatives.
        graph: All observed pairs of the part or block, where the exact loss over it is wanted.
        graph_target: Targets of all pairs of the graph, in the caller's order; None: `target`.
        age: (b,) of the observed rows, in shares of the train part's time; None: not known.
        graph_age: The same of all pairs of the graph, in the caller's order; None: `age`.
        observed_in_background: Whether the background stands for observed pairs as well.
        rows: (u,) int64, ascending: the first field's rows that `ids` and `graph` count within,
            where the batch is a block of users with all of their pairs; None: all rows.
        in_history: Whether the observed rows are pairs of the train part, which encoders know.
        shared: Items that all rows are compared with, for losses over the catalog; the rows are
            then users with all of their pairs.
        blocks: In place of `graph`: the pairs of the train part in blocks of users, over which the
            exact loss is summed (`sif.spaces.interaction.block_loss`). No loss reads it.
        share: Of a block: the part of its observed rows that these are, the rest of which other
            processes have; None: they are all.
        draw: In place of negatives and background of a large part: the number of a block of users
            to its batch, drawn when it is its turn. No loss reads it.
    """

    ids: Tensor
    target: Tensor
    negatives: Tensor
    background: Tensor
    background_weight: Tensor
    graph: PairGraph | None = None
    observed_in_background: bool = True
    rows: Tensor | None = None
    in_history: bool = True
    graph_target: Tensor | None = None
    age: Tensor | None = None
    graph_age: Tensor | None = None
    shared: Drawn | None = None
    blocks: PairBlocks | None = None
    share: float | None = None
    draw: Callable[[int], Batch] | None = None

    def age_on_graph(self) -> Tensor | None:
        """Ages (n,) of the graph's pairs, in its order."""
        whole = self.age if self.graph_age is None else self.graph_age
        return whole if whole is None or self.graph is None else whole[self.graph.order]

    def chunks(self, rows: int) -> Iterator[tuple[float, Batch]]:
        """The batch in parts of so many observed rows at most, each with its share of the rows."""
        if len(self.ids) <= rows:
            yield 1.0, self
            return
        for start in range(0, len(self.ids), rows):
            part = slice(start, start + rows)
            yield len(self.ids[part]) / len(self.ids), replace(
                self, ids=self.ids[part], target=self.target[part],
                negatives=self.negatives[part], age=None if self.age is None else self.age[part],
            )  # fmt: skip

    def of_users(self, users: slice, rows: Tensor, background: Tensor, share: float) -> Batch:
        """The rows that a batch has of some users, who are counted from the first of them.

        Args:
            users: Numbers of the users.
            rows: (c,) places of their observed rows.
            background: (q,) places of their background.
            share: Of the observed rows, by which a loss of theirs is to be multiplied.
        """

        def counted(ids: Tensor) -> Tensor:
            return torch.cat([ids[:, :1] - users.start, ids[:, 1:]], dim=1)

        return replace(
            self, ids=counted(self.ids[rows]), target=self.target[rows],
            negatives=self.negatives[rows], background=counted(self.background[background]),
            background_weight=self.background_weight[background] / share,
            age=None if self.age is None else self.age[rows],
            rows=torch.arange(users.start, users.stop, device=self.ids.device),
            graph=None, graph_target=None, graph_age=None, blocks=None,
        )  # fmt: skip

    def own(self, part: BlockPart) -> Batch:
        """The part of a block that some of its users have."""
        assert self.graph is not None and self.rows is not None  # noqa: S101
        pairs = torch.arange(part.pairs.start, part.pairs.stop, device=self.ids.device)
        user, share = self.background[:, 0], part.share(self.graph)
        background = torch.nonzero((user >= part.users.start) & (user < part.users.stop))[:, 0]
        batch = self.of_users(part.users, pairs, background, share)
        return replace(batch, rows=self.rows[part.users], graph=part.graph, share=share)

    def with_negatives(self) -> Tensor:
        """(b * m, k): each observed row with its drawn items in the recommended item's place."""
        repeated = self.ids.repeat_interleave(self.negatives.shape[1], dim=0)
        item = torch.arange(repeated.shape[1], device=repeated.device) == 1  # that is recommended
        return torch.where(item, self.negatives.reshape(-1, 1), repeated)

    def least_squares(self, positive_weight: float) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (n, k), target (n,), weight (n,) of the batch as a weighted least-squares problem.

        The problem that readouts are fitted to: ratings as they are, or 1 against 0 for clicks.
        """
        if self.negatives.shape[1]:
            drawn = self.with_negatives()
            ids = torch.cat([self.ids, drawn])
            zeros = self.target.new_zeros(len(drawn))
            target = torch.cat([torch.ones_like(self.target), zeros])
            return ids, target, torch.ones_like(target)
        if len(self.background) == 0:
            return self.ids, self.target, torch.ones_like(self.target)
        ids = torch.cat([self.ids, self.background])
        zeros = torch.zeros_like(self.background_weight)
        # (1 + a)(s - 1)^2 - s^2 is a (s - (1 + a) / a)^2 but for a constant.
        a = positive_weight if self.observed_in_background else 1 + positive_weight
        goal = (1 + positive_weight) / max(a, _SMALLEST_WEIGHT)
        observed = torch.full_like(self.target, max(a, _SMALLEST_WEIGHT))
        weight = torch.cat([observed, self.background_weight * len(self.ids)])
        return ids, torch.cat([torch.full_like(self.target, goal), zeros]), weight


@dataclass(frozen=True)
class LossSettings:
    """Numbers of the losses.

    Attributes:
        positive_weight: a of the whole-data loss: weight of an observed pair above that of any.
        negatives: Items drawn per observed row (pairwise losses), or background combinations per
            observed row (whole-data loss).
        weighting: Weights of the fields' rows; None: all weigh the same.
        own: Of the model `LossKind.settings`; None where that is None.
    """

    positive_weight: float = 3.0
    negatives: int = 2
    weighting: Weighting | None = None
    own: Any = None


Loss = Callable[[Scored, Batch, LossSettings], Tensor]


def weighted_mean(
    losses: Tensor, ids: Tensor, settings: LossSettings, age: Tensor | None = None
) -> Tensor:
    """Weighted mean of losses (n,) at observed rows ids (n, k) of ages (n,)."""
    weighting = settings.weighting
    return (losses if weighting is None else losses * weighting.observed(ids, age)).mean()


def leave_one_out(interaction: Scored, graph: PairGraph) -> tuple[Tensor, Tensor]:
    """Scores (n,) at a graph's pairs as they are, and without each pair's own part."""
    scores = interaction.on_graph(graph)
    own = interaction.own_on_graph(graph)
    return scores, scores if own is None else scores - own


def against(interaction: Scored, batch: Batch) -> tuple[Tensor, Tensor]:
    """Scores (b,) of the observed rows and (b, m) of the same rows with drawn items."""
    negatives = interaction.pairs(batch.with_negatives())
    observed = interaction.pairs(batch.ids, batch.in_history)
    return observed, negatives.view(batch.negatives.shape)


class LossModel(BaseModel):
    """Settings of a loss: frozen, strictly typed, without unknown keys, NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Temperature = Annotated[float, Field(ge=1e-3, le=1e3)]
"""Of exponentials; below, float32 scores of 100 would have no finite exponential."""


@dataclass(frozen=True)
class LossKind:
    """A loss by its name: a mean over observed rows of terms that read one user each.

    So the loss of a batch is the sum of those of its users, times their shares of the rows, by
    which large train parts are computed. With a background, which is a sum, a batch of some users
    may have no observed row.

    Attributes:
        function: A scored function, a batch and numbers to a scalar.
        objectives: Those that it serves, of "ranking" and "rating".
        negatives: Whether batches bring `Batch.negatives`.
        background: Whether batches bring `Batch.background`, unless they have the whole graph.
        graph: Whether it reads `Batch.graph`, which batches of a whole part then bring.
        shared: Whether batches bring `Batch.shared`, and users with all of their pairs.
        settings: Model of settings of its own, as `losses.NAME.key`; None: it has none.
        l2: Its unit of L2 strengths, which suit losses of another steepness: strengths are
            multiplied by it.

    Raises:
        ConfigError: `function` does not take its arguments, or `settings` is no such class.
    """

    function: Loss
    objectives: tuple[str, ...]
    negatives: bool = False
    background: bool = False
    graph: bool = False
    settings: type[BaseModel] | None = None
    shared: bool = False
    l2: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self, {"function": "interaction, batch, settings"}, BaseModel)

    def __call__(self, interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
        """The scalar loss of a batch."""
        return self.function(interaction, batch, settings)
