"""Terms of folding a row in: the encoding of its pairs, and its share of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sif.baselines.base import RowLoss
from sif.core.genotype import Genotype
from sif.evaluation.cold_start import cold_rows
from sif.problems.interactions import InteractionProblem
from sif.problems.objective import POWER
from sif.spaces.interaction.encoders import encoded
from sif.spaces.interaction.function import Design, InteractionNetwork
from sif.spaces.interaction.losses import WEIGHTINGS, Weighting
from sif.spaces.interaction.registry import design_of


@dataclass(frozen=True, eq=False)
class Encoding:
    """The encoding that makes a row's vector of its pairs.

    Attributes:
        free: Whether a row also has an embedding of its own. It takes the place of what its
            features say, too.
        history: (n_other, d) table that its history sums over; None: no history.
        power: A history is the sum over its pairs times count^-power.
        neighbors: (n_other, d) vectors that light propagation adds, times count^-1/2, before it
            halves; None: no propagation.
        unit: Whether the vector is scaled to length 1 in the end.
    """

    free: bool
    history: Tensor | None = None
    power: float = 0.5
    neighbors: Tensor | None = None
    unit: bool = False

    @property
    def scale(self) -> float:
        """Factor of an embedding in the vector."""
        return 1.0 if self.neighbors is None else 0.5

    def contributions(self, others: Tensor, counts: Tensor) -> Tensor:
        """Parts (n, d) of rows' vectors that pairs with `others` (n,) give.

        Args:
            others: Rows of the other field.
            counts: (n,) pairs of the row that each pair is of.
        """
        parts = []
        if self.history is not None:
            count = counts.clamp(min=1)[:, None].to(self.history)
            parts.append(self.scale * count**-self.power * self.history[others])
        if self.neighbors is not None:
            count = counts.clamp(min=1)[:, None].to(self.neighbors)
            parts.append(0.5 * count**-0.5 * self.neighbors[others])
        total: Tensor = sum(parts[1:], parts[0])
        return total

    @property
    def contributes(self) -> bool:
        """True if pairs contribute to the vector."""
        return self.history is not None or self.neighbors is not None


@dataclass(frozen=True, eq=False)
class Objective:
    """The training loss as one row sees it.

    Attributes:
        loss: Name in `sif.spaces.interaction.registry.LOSSES`.
        l2: Strength; a row with n pairs is penalized by l2 * n^l2_power.
        l2_power: Exponent of that number of pairs.
        bias_l2: L2 of a bias in units of an embedding's.
        power, level: A row with n pairs weighs level * n^power.
        even: (n_other,) weights of the other field's rows.
        extra: (n_other,) further weight of observed pairs (whole-data loss).
        apart: Whether a row's weight does not multiply the further one (items).
        negatives: Drawn per observed pair (pairwise losses).
        own: Settings of the loss's own.
    """

    loss: str
    l2: float
    l2_power: float
    bias_l2: float
    power: float
    level: float
    even: Tensor
    extra: Tensor
    apart: bool = False
    negatives: int = 1
    own: Mapping[str, Any] = field(default_factory=dict)

    def weight(self, count: int) -> float:
        """The weight of a row with so many pairs."""
        return float(self.level * max(count, 1) ** self.power)

    def further(self, others: Tensor) -> Tensor:
        """`extra` of one row's pairs (n,), before the row's weight multiplies it."""
        extra = self.extra[others]
        return extra / self.weight(len(others)) if self.apart else extra

    def penalty(self, count: int) -> float:
        """L2 of its embedding."""
        return float(self.l2 * max(count, 1) ** self.l2_power)


FoldInTerms = tuple[Encoding, Objective]


@torch.no_grad()
def fold_in_terms(
    problem: InteractionProblem, genotype: Genotype, trained: InteractionNetwork, l2: float
) -> tuple[FoldInTerms, ...]:
    """Terms that fold rows into a trained network, by field; empty unless there are two."""
    if len(problem.fields) != 2:
        return ()
    design = design_of(genotype, problem.fields)
    return tuple(
        (_encoding(problem, trained, field), _objective(problem, design, field, l2))
        for field in (0, 1)
    )


def baseline_terms(row_loss: RowLoss, sizes: tuple[int, ...]) -> tuple[FoldInTerms, ...]:
    """Terms that fold rows into a factor model of so many users and items, by field."""

    def objective(field: int) -> Objective:
        even = torch.ones(sizes[1 - field])
        return Objective(
            row_loss.loss, row_loss.l2, row_loss.l2_power, 1.0, 0.0, 1.0, even,
            row_loss.extra * even, bool(field),
        )  # fmt: skip

    return (Encoding(True), objective(0)), (Encoding(True), objective(1))


def _encoding(problem: InteractionProblem, trained: InteractionNetwork, field: int) -> Encoding:
    shape, tables = trained.shape, trained.tables
    name, power = shape.encoding(field), problem.config.model.history_power
    history = neighbors = None
    if name != "id":
        cold = torch.from_numpy(cold_rows(problem.train_part, 1 - field))
        history = tables.histories[field].detach().cpu().clone()
        history[cold] = 0.0  # as they began: no history trained them
    if trained.design.graph:
        other = encoded(tables, problem.histories, 1 - field, shape.encoding(1 - field))
        neighbors = problem.histories.normalized(1 - field, other.table).cpu()
    free = name != "history" or tables.has_features(field)
    return Encoding(free, history, power, neighbors, trained.design.unit)


def _objective(problem: InteractionProblem, design: Design, field: int, l2: float) -> Objective:
    config, counts = problem.config, problem.row_counts
    power = WEIGHTINGS[design.weighting].powers[field]
    loss = problem.loss_at(design.loss)
    weighting_of_pairs, own = problem.weighting(design.weighting), loss.settings.own
    whole = loss.kind.background
    even = torch.ones_like(counts[1 - field])
    level = 1.0
    if weighting_of_pairs is not None:
        other: tuple[str, ...] = ("user", "item" if whole else "item_observed")
        even = getattr(weighting_of_pairs, other[1 - field])
        level = _level(weighting_of_pairs, field, counts[field], power, whole)
    extra = config.loss.positive_weight * (even if field else torch.ones_like(even))
    return Objective(
        design.loss or problem.loss_name, l2 * loss.kind.l2, POWER[config.loss.l2_scaling],
        config.loss.bias_l2, power, level,
        even.cpu().clone(), extra.cpu().clone(), bool(field), config.loss.negatives,
        {} if own is None else own.model_dump(mode="json"),
    )  # fmt: skip


def _level(
    weighting: Weighting, field: int, counts: torch.Tensor, power: float, whole: bool
) -> float:
    """A row of n pairs weighs this times n^power."""
    weights = (weighting.user, weighting.item if whole else weighting.item_observed)[field]
    return float((weights / counts.clamp(min=1) ** power).mean())
