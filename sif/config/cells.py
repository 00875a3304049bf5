"""What the searches for cells of all kinds are told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sif.config.search import SearchSection
from sif.config.sections import Count, NonNegative, Rate

Part = Annotated[float, Field(gt=0, le=1)]


class CellSearchSection(SearchSection):
    """Epochs, the weights' step, and what probes see."""

    steps_per_epoch: Count | None = Field(
        None, description="weight steps that count as an epoch; None: one pass"
    )
    lr: Rate = Field(description="first step size of the weights")
    weight_decay: NonNegative = Field(description="of the weights that a step trains")
    max_norm: Rate = Field(description="bound on the gradient's norm")
    probe_operations: Part = Field(
        1.0, description="chance to probe a candidate beyond the two best of its edge; 1: exact"
    )
    probe_rows: Part = Field(
        1.0, description="share of a validation batch that probes see; 1: exact"
    )

    @property
    def warmup_epochs(self) -> int:
        """The share of the epochs in whole ones."""
        return round(self.warmup * self.epochs)
