"""The record of how a model's items were rounded, and what that lost."""

from __future__ import annotations

from dataclasses import dataclass

from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.linear.network import OrderNetwork
from sif.utils.compact_rows import Precision


@dataclass(frozen=True)
class ItemPrecision:
    """A table of items in float16 or int8, measured when it was made.

    Attributes:
        precision: Of the table: vectors of the items, or weights from item to item.
        recall: Length of a list to the mean share of the float32 lists that is in the rounded ones.
        errors: Its standard errors.
        users: Users whose lists were compared; 0: there were none.
        float32_bytes: Of the table before.
        bytes: Of the table now, the scales included.
    """

    precision: Precision
    recall: dict[int, float]
    errors: dict[int, float]
    users: int
    float32_bytes: int
    bytes: int

    def __str__(self) -> str:
        sizes = (
            f"{self.precision} items: {self.float32_bytes / 1e6:,.1f} MB became "
            f"{self.bytes / 1e6:,.1f} MB"
        )
        if not self.users:
            return f"{sizes}; no user to measure the recall with"
        told = ", ".join(
            f"recall@{k} {mean:.4f} (standard error {self.errors[k]:.4f})"
            for k, mean in self.recall.items()
        )
        return f"{sizes}; {told} of the float32 lists of {self.users:,} users"


def precision_of(trained: InteractionNetwork | OrderNetwork) -> Precision:
    """The type of the numbers in the table of items."""
    return trained.precision if isinstance(trained, OrderNetwork) else trained.tables.precision
