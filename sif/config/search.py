"""What every search is told, whatever its space: how long it is, and how alpha moves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sif.config.sections import Count, Rate, Section

Share = Annotated[float, Field(ge=0, lt=1)]
Chance = Annotated[float, Field(ge=0, le=1)]


class SearchSection(Section):
    """Settings of all search methods; a task's own section has defaults for its data."""

    epochs: Count = Field(50, description="passes over the train part")
    seconds: Rate | None = Field(
        None, description="CPU seconds of the search, over all sittings; None: epochs decide"
    )
    steps: Count | None = Field(
        None, description="weight steps of the search, over all candidates; None: epochs decide"
    )
    candidate_epochs: Count | None = Field(
        None, description="epochs of each selection that a sampler (random, tpe, nsga2, "
        "exhaustive) trains from scratch; None: a tenth of epochs"
    )  # fmt: skip
    candidates: Count = Field(
        16, description="different selections that random-ws judges at its end"
    )
    population: Annotated[int, Field(ge=2)] = Field(
        16, description="selections of a generation of nsga2"
    )
    warmup: Share = Field(
        0.1, description="share of NASP's epochs, the first, that trains all operations in turn"
    )
    explore: Chance = Field(
        0.2, description="chance that a weight step draws all edges afresh (nasp)"
    )
    lr: Rate = Field(description="step size of the weights")
    arch_every: Count = Field(
        1, description="weight steps per architecture step; DARTS, SNAS and GDAS: always 1"
    )
    arch_optimizer: Literal["plain", "adam"] = Field(
        "adam", description="proximal step of the paper, or Adam as in the published code"
    )
    arch_lr: Rate = Field(3e-4, description="step size of NASP's alpha")
    darts_lr: Rate = Field(
        3e-4, description="step size of alpha of DARTS, SNAS and GDAS, as published"
    )
    box: Literal["shift", "clip"] = Field("shift", description="how alpha is kept in [0, 1]")

    @model_validator(mode="after")
    def _one_budget(self) -> SearchSection:
        if self.seconds is not None and self.steps is not None:
            raise ValueError(
                f"seconds ({self.seconds:g}) contradicts steps ({self.steps}): drop one of them"
            )
        return self

    @property
    def each(self) -> int:
        """Epochs of a candidate."""
        return self.candidate_epochs or max(1, self.epochs // 10)

    @property
    def resting_share(self) -> float:
        """Share of the epochs in which alpha of a method that warms up rests."""
        return self.warmup

    @property
    def eta(self) -> float:
        """Weight of the complexity penalty; 0 where no operation has weights of its own."""
        return 0.0

    @property
    def continuous_lr(self) -> float:
        """Adam step size of continuous architecture parameters."""
        return 3e-3

    def rests(self, warmup: int, steps: int, unit: int) -> int:
        """Weight steps before alpha moves.

        Args:
            warmup: Weight steps that train all operations in turn.
            steps: Of the whole search.
            unit: Steps of an epoch, where the search is one of epochs; else 1.
        """
        return warmup
