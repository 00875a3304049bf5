"""Families of closed forms: constants with the values that each may have, and their fits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

from sif.spaces.closed.clicks import Clicks
from sif.spaces.closed.weights import FilterWeights
from sif.spaces.linear.weights import ItemWeights

Grid = tuple[float, ...]
AnyWeights = ItemWeights | FilterWeights

SPARSE_RATE, DENSE_RATE = 1.2e9, 4e10
"""Multiplications in a second of a sparse and of a dense product, about, on one core of 2020."""


@dataclass(frozen=True)
class Family(ABC):
    """A closed form with its constants, all of which are numbers.

    Attributes:
        name: Of the family.
        grids: Constant to its values, ascending.
        known: Constants that suited some data: where a search begins.
        solves: Whether a fit takes the cube of the number of items.
    """

    name: ClassVar[str]
    grids: ClassVar[Mapping[str, Grid]]
    known: ClassVar[tuple[Mapping[str, float], ...]]
    solves: ClassVar[bool] = False

    @classmethod
    def grids_on(cls, clicks: Clicks) -> Mapping[str, Grid]:
        """The grids that make a difference on some clicks."""
        return cls.grids

    @abstractmethod
    def weights(self, clicks: Clicks) -> AnyWeights:
        """Fits.

        Raises:
            DivergedError: The constants allow no solution.
        """

    @abstractmethod
    def seconds(self, clicks: Clicks, users: int) -> float:
        """Seconds of a fit and of scores of some users, by the numbers of multiplications."""

    @property
    @abstractmethod
    def expression(self) -> str:
        """The model on one line."""

    @property
    def constants(self) -> dict[str, float]:
        """Name to value."""
        return {entry.name: float(getattr(self, entry.name)) for entry in fields(self)}
