"""Settings shared by the searches for cells of all kinds."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from sif.config.sections import (
    CommonConfig,
    Count,
    NameOrPath,
    NonNegative,
    Rate,
    SearchSection,
)

Part = Annotated[float, Field(gt=0, lt=1)]


class CellsConfig(CommonConfig):
    """Settings of a job that searches cells."""

    overlay: ClassVar[str | None] = "dataset"

    cells: NameOrPath | None = Field(
        None, description="what to train without a search: a published name, or a genotype file"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of matrix products and convolutions while weights and alpha train; "
        "evaluation: float32"
    )  # fmt: skip


class CellSearchSection(SearchSection):
    """Epochs, and the step of the weights."""

    steps_per_epoch: Count | None = Field(
        None, description="weight steps that count as an epoch; None: one pass"
    )
    lr: Rate = Field(description="first step size of the weights")
    weight_decay: NonNegative = Field(description="of the weights that a step trains")
    max_norm: Rate = Field(description="bound on the gradient's norm")
