"""Settings of every search, independent of space and method."""

from __future__ import annotations

from pydantic import Field, model_validator

from sif.config.sections import Count, Rate, Section


class SearchSection(Section):
    """Length of a search and steps of its weights; a task's own section has further settings.

    The settings of a method are its own (`CommonConfig.methods`).
    """

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
    lr: Rate = Field(description="step size of the weights")
    arch_every: Count = Field(
        1, description="weight steps per architecture step, of alpha and of continuous parameters; "
        "DARTS, SNAS and GDAS: always 1"
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_budget(self) -> SearchSection:
        if self.seconds is not None and self.steps is not None:
            raise ValueError(
                f"seconds ({self.seconds:g}) contradicts steps ({self.steps}): drop one of them"
            )
        return self

    @property
    def each(self) -> int:
        """Epochs of each candidate."""
        return self.candidate_epochs or max(1, self.epochs // 10)
