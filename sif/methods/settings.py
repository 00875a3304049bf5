"""The common part of the settings of search methods.

A method's settings are a model beside it (`Nasp.Settings`), validated from every source:
`--set methods.nasp.explore=0.1`, a YAML file, or Python.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sif.config.sections import NonNegative, Rate, Section
from sif.utils.units import Unit


class MethodSettings(Section):
    """Base of the settings of methods: no warm-up, and architecture steps from the start."""

    def warmup_steps(self, steps: int, unit: int) -> int:
        """Number of first weight steps that train all operations in turn.

        Args:
            steps: Of the whole search.
            unit: Steps of an epoch, where the search is one of epochs; else 1.
        """
        return 0

    def resting_steps(self, warmup: int, steps: int, unit: int) -> int:
        """Number of weight steps before the first architecture step, which may be in the warm-up.

        Args:
            warmup: The result of `warmup_steps`.
            steps: Of the whole search.
            unit: The same as for `warmup_steps`.
        """
        return 0

    @property
    def resting_share(self) -> float:
        """Share of the search before the first architecture step."""
        return 0.0

    @property
    def arch_score(self) -> str:
        """Kind of score that moves the architecture (`sif.core.method.ArchReport.scores`)."""
        return "gradient"


class RelaxationSettings(MethodSettings):
    """Settings of DARTS, SNAS and GDAS: the Adam step of alpha, as in DARTS, appendix A.1.1."""

    arch_lr: Annotated[Rate, Unit("step size")] = Field(3e-4, description="Adam step size of alpha")
    arch_weight_decay: Annotated[NonNegative, Unit("per step")] = Field(
        1e-3, description="weight decay of alpha"
    )
