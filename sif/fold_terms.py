"""What folding a row in has to know: how its pairs become a vector, and the loss as it sees it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Encoding:
    """What a row's pairs give to its vector.

    Attributes:
        free: Whether a row also has an embedding of its own.
        history: (n_other, d) table that its history sums over; None: no history.
        power: A history is the sum over its pairs times count^-power.
        neighbours: (n_other, d) vectors that light propagation adds, times count^-1/2, before it
            halves; None: no propagation.
    """

    free: bool
    history: Tensor | None = None
    power: float = 0.5
    neighbours: Tensor | None = None

    @property
    def scale(self) -> float:
        """What an embedding counts in the vector."""
        return 1.0 if self.neighbours is None else 0.5

    def contributions(self, others: Tensor) -> Tensor:
        """What each of a row's pairs, with `others` (n,), gives to its vector: (n, d)."""
        count, parts = max(len(others), 1), []
        if self.history is not None:
            parts.append(self.scale * count**-self.power * self.history[others])
        if self.neighbours is not None:
            parts.append(0.5 * count**-0.5 * self.neighbours[others])
        total: Tensor = sum(parts[1:], parts[0])
        return total

    @property
    def contributes(self) -> bool:
        """Whether pairs give anything."""
        return self.history is not None or self.neighbours is not None


@dataclass(frozen=True, eq=False)
class Objective:
    """The training loss as one row sees it.

    Attributes:
        loss: Key of `sif.objectives.LOSSES`.
        l2: Strength; a row with n pairs is penalised by l2 * n^l2_power.
        l2_power: See there.
        bias_l2: L2 of a bias in units of an embedding's.
        power, level: A row with n pairs weighs level * n^power.
        even: (n_other,) weights of the other field's rows.
        extra: (n_other,) further weight of observed pairs (whole-data loss).
        apart: Whether a row's weight does not multiply the further one (items).
        negatives: Drawn per observed pair (pairwise losses).
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

    def weight(self, count: int) -> float:
        """Of a row with so many pairs."""
        return float(self.level * max(count, 1) ** self.power)

    def further(self, others: Tensor) -> Tensor:
        """`extra` of a row's pairs (n,), before the row's weight multiplies it."""
        extra = self.extra[others]
        return extra / self.weight(len(others)) if self.apart else extra

    def penalty(self, count: int) -> float:
        """L2 of its embedding."""
        return float(self.l2 * max(count, 1) ** self.l2_power)
