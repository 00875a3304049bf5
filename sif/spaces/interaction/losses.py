"""Training losses of scored pairs, and the batches that they need.

A loss sees a scored function and a batch, never a gate or an architecture. Rating: squared error of
standardized ratings. Ranking: the whole-data weighted square loss (Hu, Koren & Volinsky, ICDM 2008:
weight 1 + a on observed pairs with target 1, weight 1 on every other pair with target 0), BPR
(Rendle et al., UAI 2009), sampled softmax, and binary cross-entropy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from pydantic import BaseModel
from torch import Tensor
from torch.nn import functional as F

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

    def age_on_graph(self) -> Tensor | None:
        """Ages (n,) of the graph's pairs, in its order."""
        whole = self.age if self.graph_age is None else self.graph_age
        return whole if whole is None or self.graph is None else whole[self.graph.order]

    def with_negatives(self) -> Tensor:
        """(b * m, k): each observed row with its drawn items in the recommended item's place."""
        repeated = self.ids.repeat_interleave(self.negatives.shape[1], dim=0)
        item = torch.zeros(repeated.shape[1], dtype=torch.bool, device=repeated.device)
        item[1] = True  # the field that is recommended
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


@dataclass(frozen=True)
class WeightingKind:
    """A choice of weights of observed pairs.

    Attributes:
        powers: Of the numbers of pairs of a user and of an item.
        half_life: Age at which a pair weighs half as much, a share of the train part's time; None:
            all ages weigh the same.
    """

    powers: tuple[float, float] = (0.0, 0.0)
    half_life: float | None = None


WEIGHTINGS: dict[str, WeightingKind] = {
    "even": WeightingKind(),
    "users": WeightingKind((-0.25, 0.0)),
    "items": WeightingKind((0.0, 0.15)),
    "both": WeightingKind((-0.25, 0.15)),
    "recency": WeightingKind(half_life=1 / 4),
}
"""Powers of the numbers of pairs by which users and items weigh, chosen on the validation part of
ML-100K: metrics are means over users, so busy users weigh too much in a sum over pairs; a popular
item that a user passed over says more than an unknown one (He et al., eALS, SIGIR 2016)."""


@dataclass(frozen=True, eq=False)
class Weighting:
    """Weights of a user's and an item's pairs.

    Attributes:
        user: (n_users,), mean 1 over the pairs of the train part.
        item: (n_items,), mean 1 over the items: weights of unobserved pairs (whole-data loss).
        item_observed: (n_items,), the same with mean 1 over the pairs (other losses).
        half_life: See `WeightingKind`.
        newest: Weight of a pair of no age, so that the mean over the pairs is 1.
    """

    user: Tensor
    item: Tensor
    item_observed: Tensor
    half_life: float | None = None
    newest: float = 1.0

    @classmethod
    def of(cls, name: str, counts: Sequence[Tensor], age: Tensor | None = None) -> Weighting | None:
        """The weighting of that name in `WEIGHTINGS`; None where all pairs weigh the same.

        Args:
            name: Of the weighting.
            counts: (n_f,) numbers of pairs per field.
            age: (n,) of the pairs, for weightings with a half-life.
        """
        kind = WEIGHTINGS[name]
        if kind == WeightingKind():
            return None
        newest = 1.0
        if kind.half_life is not None and age is not None:
            newest = 1 / float((0.5 ** (age / kind.half_life)).mean())
        user_power, item_power = kind.powers
        user, item = (c.clamp(min=1) for c in counts[:2])
        of_user, of_item = user**user_power, item**item_power
        total = counts[0].sum()
        return cls(
            of_user * (total / (counts[0] @ of_user)),
            of_item / of_item.mean(),
            of_item * (total / (counts[1] @ of_item)),
            kind.half_life,
            newest,
        )

    def within(self, rows: Tensor | None) -> Weighting:
        """For batches whose users count within `rows` (b,) int64; None: within all."""
        return self if rows is None else replace(self, user=self.user[rows])

    def observed(self, ids: Tensor, age: Tensor | None = None) -> Tensor:
        """(n,) weights of observed pairs ids (n, k) in losses without a background."""
        return self.user[ids[:, 0]] * self.item_observed[ids[:, 1]] * self.recency(age)

    def recency(self, age: Tensor | None) -> Tensor | float:
        """Weights of pairs of ages (n,); 1 where they have none, or it does not count."""
        if age is None or self.half_life is None:
            return 1.0
        return self.newest * 0.5 ** (age / self.half_life)


Loss = Callable[[Scored, Batch, LossSettings], Tensor]


def squared(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    """Mean squared error of standardized ratings."""
    if batch.graph is None or not interaction.is_factorized:
        scores, target = interaction.pairs(batch.ids, batch.in_history), batch.target
        ids, age = batch.ids, batch.age
    else:
        scores = _leave_one_out(interaction, batch.graph)[1]
        whole = batch.target if batch.graph_target is None else batch.graph_target
        target = whole[batch.graph.order]
        ids = batch.ids if settings.weighting is None else batch.graph.ids()
        age = None if settings.weighting is None else batch.age_on_graph()
    return weighted_mean((scores - target) ** 2, ids, settings, age)


def weighted_mean(
    losses: Tensor, ids: Tensor, settings: LossSettings, age: Tensor | None = None
) -> Tensor:
    """Weighted mean of losses (n,) at observed rows ids (n, k) of ages (n,)."""
    weighting = settings.weighting
    return (losses if weighting is None else losses * weighting.observed(ids, age)).mean()


def _leave_one_out(interaction: Scored, graph: PairGraph) -> tuple[Tensor, Tensor]:
    """Scores (n,) at a graph's pairs as they are, and without each pair's own part."""
    scores = interaction.on_graph(graph)
    own = interaction.own_on_graph(graph)
    return scores, scores if own is None else scores - own


def whole_data(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    """Weighted square loss over every combination, per observed pair.

    Exact where the batch carries the part's graph and the function factors: with scores A B^T the
    sum of all squares is <A^T A, B^T B> (as in iALS; Rendle et al., RecSys 2022), so no negative
    is ever drawn. Otherwise the background is a uniform sample, weighted to stand for the whole.
    """
    exact = batch.graph is not None and interaction.is_factorized
    factors = interaction.factors() if exact else None
    weighting = settings.weighting
    if factors is not None and batch.graph is not None:
        a, b = factors
        graph = batch.graph
        scores, observed = _leave_one_out(interaction, graph)
        ids, age = (batch.ids, None) if weighting is None else (graph.ids(), batch.age_on_graph())
        left, right = a, b
        if weighting is not None:
            left, right = weighting.user[:, None] * a, weighting.item[:, None] * b
        everything = ((left.T @ a) * (right.T @ b)).sum() / len(graph)
    else:
        ids, age = batch.ids, batch.age
        observed = interaction.pairs(ids, batch.in_history)
        scores = interaction.pairs(ids) if interaction.uses_history else observed
        unobserved = batch.background_weight * interaction.pairs(batch.background) ** 2
        if weighting is not None:
            user, item = batch.background[:, 0], batch.background[:, 1]
            unobserved = unobserved * weighting.user[user] * weighting.item[item]
        everything = unobserved.sum()
    return _observed_part(scores, observed, ids, age, batch, settings) + everything


def _observed_part(
    scores: Tensor, observed: Tensor, ids: Tensor, age: Tensor | None, batch: Batch,
    settings: LossSettings,
) -> Tensor:  # fmt: skip
    """The loss that observed pairs add to the background, or replace in it, per pair."""
    weighting = settings.weighting
    even: Tensor | float = 1.0 if weighting is None else weighting.item[ids[:, 1]]
    further: Tensor | float = settings.positive_weight
    if weighting is not None:
        further = further * weighting.recency(age)
    positive = (even + further) * (observed - 1) ** 2
    if batch.observed_in_background:
        positive = positive - even * scores**2
    return (positive if weighting is None else weighting.user[ids[:, 0]] * positive).mean()


def against(interaction: Scored, batch: Batch) -> tuple[Tensor, Tensor]:
    """Scores (b,) of the observed rows and (b, m) of the same rows with drawn items."""
    negatives = interaction.pairs(batch.with_negatives())
    observed = interaction.pairs(batch.ids, batch.in_history)
    return observed, negatives.view(batch.negatives.shape)


def bpr(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    """Bayesian personalized ranking: -log sigmoid(observed - drawn), averaged."""
    observed, negatives = against(interaction, batch)
    losses = F.softplus(negatives - observed[:, None]).mean(dim=1)
    return weighted_mean(losses, batch.ids, settings, batch.age)


def sampled_softmax(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    """Cross-entropy of the observed item among itself and the drawn ones."""
    observed, negatives = against(interaction, batch)
    logits = torch.cat([observed[:, None], negatives], dim=1)
    losses = torch.logsumexp(logits, dim=1) - observed
    return weighted_mean(losses, batch.ids, settings, batch.age)


def cross_entropy(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    """Binary cross-entropy, observed rows against drawn ones."""
    observed, negatives = against(interaction, batch)
    losses = F.softplus(-observed) + F.softplus(negatives).sum(dim=1)
    return weighted_mean(losses, batch.ids, settings, batch.age)


@dataclass(frozen=True)
class LossKind:
    """A loss by its name.

    Attributes:
        function: A scored function, a batch and numbers to a scalar.
        objectives: Those that it serves, of "ranking" and "rating".
        negatives: Whether batches bring `Batch.negatives`.
        background: Whether batches bring `Batch.background`, unless they have the whole graph.
        graph: Whether it reads `Batch.graph`, which batches of a whole part then bring.
        settings: Model of settings of its own, as `losses.NAME.key`; None: it has none.

    Raises:
        ConfigError: `function` does not take its arguments, or `settings` is no such class.
    """

    function: Loss
    objectives: tuple[str, ...]
    negatives: bool = False
    background: bool = False
    graph: bool = False
    settings: type[BaseModel] | None = None

    def __post_init__(self) -> None:
        check_fields(self, {"function": "interaction, batch, settings"}, BaseModel)

    def __call__(self, interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
        """The scalar loss of a batch."""
        return self.function(interaction, batch, settings)


SQUARED = LossKind(squared, ("rating",), graph=True)
WHOLE_DATA = LossKind(whole_data, ("ranking",), background=True, graph=True)
BPR = LossKind(bpr, ("ranking",), negatives=True)
SOFTMAX = LossKind(sampled_softmax, ("ranking",), negatives=True)
BCE = LossKind(cross_entropy, ("ranking",), negatives=True)
