"""The users of validation and test side by side: choices hold where they are alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sif.data.interactions.interactions import Interactions
from sif.data.interactions.split import Split

FACTOR = 1.5
"""Two populations differ if a number of one is more than so many times that of the other. Of splits
that are alike by design (random rows, last items, `time-cut`) numbers are within 1.44 times one
another on nine data sets; of plain cuts in time on MovieLens they are 1.7 and 1.9 times apart."""
FEW = 0.05
"""Smaller shares of rows count as so much: hardly anything depends on them."""


@dataclass(frozen=True)
class Population:
    """The users of an evaluated part.

    Attributes:
        users: Their number.
        new_users: Number of those who have no fitted row.
        new_row_share: Share of the part's rows that are theirs.
        known_median: Median number of fitted rows of the other users; 0: there are none.
    """

    users: int
    new_users: int
    new_row_share: float
    known_median: float

    @classmethod
    def of(cls, fitted: Sequence[Interactions], part: Interactions) -> Population:
        """The users of a part.

        Args:
            fitted: Parts that the evaluated models were fitted on.
            part: On which they are evaluated; under the same vocabularies.
        """
        counts = [np.bincount(one.ids[:, 0], minlength=part.sizes[0]) for one in fitted]
        rows = np.sum(counts, axis=0)
        users = np.unique(part.ids[:, 0])
        known = rows[users][rows[users] > 0]
        return cls(
            len(users),
            len(users) - len(known),
            float((rows[part.ids[:, 0]] == 0).sum() / max(len(part), 1)),
            float(np.median(known)) if len(known) else 0.0,
        )


@dataclass(frozen=True)
class Populations:
    """Those of validation and test."""

    valid: Population
    test: Population

    @classmethod
    def of(cls, split: Split, again: bool) -> Populations:
        """The users of a split.

        Args:
            split: All parts.
            again: Whether the tested models are fitted on train and valid rows.
        """
        train, valid = split.train, split.valid
        fitted = (train, valid) if again else (train,)
        return cls(Population.of((train,), valid), Population.of(fitted, split.test))

    @property
    def differences(self) -> tuple[str, ...]:
        """Numbers that are more than `FACTOR` times apart, in words."""
        shares = [p.new_row_share for p in (self.valid, self.test)]
        found = []
        if any(_apart(*(max(s, FEW) for s in pair)) for pair in (shares, [1 - s for s in shares])):
            found.append(f"{shares[0]:.1%} and {shares[1]:.1%} of their rows are of new users")
        medians = [p.known_median for p in (self.valid, self.test)]
        if all(medians) and _apart(*medians):
            found.append(f"known users have a median of {medians[0]:g} and {medians[1]:g} rows")
        return tuple(found)

    @property
    def told(self) -> str:
        """One line where they differ, else nothing."""
        if not self.differences:
            return ""
        return (
            f"valid and test have different users: {'; '.join(self.differences)}; what validation "
            "chose need not be best at test"
        )

    def document(self) -> dict[str, Any]:
        """In plain JSON values, for `metrics.json`."""
        differences = {"differences": list(self.differences)}
        return {"valid": asdict(self.valid), "test": asdict(self.test), **differences}


def _apart(one: float, other: float) -> bool:
    return max(one, other) > FACTOR * min(one, other)
