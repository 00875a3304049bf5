"""Weights of observed pairs by their user, their item and their age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor


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
