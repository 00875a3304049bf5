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
from sif.utils.units import Unit

Part = Annotated[float, Field(gt=0, lt=1), Unit("share")]


class CellsConfig(CommonConfig):
    """Settings of a job that searches cells."""

    overlay: ClassVar[str | None] = "dataset"

    cells: NameOrPath | None = Field(
        None, description="cells to train without a search: a published name, or a genotype file"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="precision of matrix products and convolutions while weights and alpha train; "
        "evaluation always runs in float32",
    )


class CellSearchSection(SearchSection):
    """Epochs, and the step of the weights."""

    steps_per_epoch: Annotated[Count, Unit("weight steps")] | None = Field(
        None, description="weight steps that count as one epoch; None: one pass over the train part"
    )
    lr: Annotated[Rate, Unit("step size")] = Field(description="first step size of the weights")
    weight_decay: Annotated[NonNegative, Unit("per step")] = Field(
        description="weight decay of the weights that a step trains"
    )
    max_norm: Annotated[Rate, Unit("gradient norm")] = Field(
        description="upper bound on the norm of the gradient"
    )
