"""What the searches for cells of all kinds are told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sif.config.sections import Count, NonNegative, Rate, Section

Chance = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class CellSearchSection(Section):
    """Epochs, warm-up, exploration, and the steps of alpha."""

    epochs: Count = Field(50, description="passes over the train part")
    steps_per_epoch: Count | None = Field(
        None, description="weight steps that count as an epoch; None: one pass"
    )
    warmup: Share = Field(
        0.1, description="share of NASP's epochs, the first, that trains all operations in turn"
    )
    explore: Annotated[float, Field(ge=0, le=1)] = Field(
        0.2, description="chance that a weight step draws all edges afresh"
    )
    lr: Rate = Field(description="first step size of the weights")
    weight_decay: NonNegative = Field(description="of the weights that a step trains")
    max_norm: Rate = Field(description="bound on the gradient's norm")
    arch_every: Count = Field(1, description="weight steps per architecture step")
    arch_optimizer: Literal["plain", "adam"] = Field(
        "adam", description="proximal step of the paper, or Adam as in the published code"
    )
    arch_lr: Rate = Field(3e-4, description="step size of NASP's alpha")
    darts_lr: Rate = Field(3e-4, description="step size of DARTS' alpha, as published")
    box: Literal["shift", "clip"] = Field("shift", description="how alpha is kept in [0, 1]")
    probe_operations: Chance = Field(
        1.0, description="chance to probe a candidate beyond the two best of its edge; 1: exact"
    )
    probe_rows: Chance = Field(
        1.0, description="share of a validation batch that probes see; 1: exact"
    )

    @property
    def warmup_epochs(self) -> int:
        """The share of the epochs in whole ones."""
        return round(self.warmup * self.epochs)

    @property
    def eta(self) -> float:
        """Weight of the complexity penalty; 0 where no operation has weights of its own."""
        return 0.0
