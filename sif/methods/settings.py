"""The common part of the settings of search methods.

A method's settings are a model beside it (`Nasp.Settings`), validated from every source:
`--set methods.nasp.explore=0.1`, a YAML file, or Python.
"""

from __future__ import annotations

from pydantic import Field

from sif.config.sections import NonNegative, Rate, Section


class MethodSettings(Section):
    """Settings of a method without any; its architecture moves from the first step."""

    def warmup_steps(self, steps: int, unit: int) -> int:
        """First weight steps of a search, which train all operations in turn.

        Args:
            steps: Of the whole search.
            unit: Steps of an epoch, where the search is one of epochs; else 1.
        """
        return 0

    def resting_steps(self, warmup: int, steps: int, unit: int) -> int:
        """Weight steps before the architecture moves.

        Args:
            warmup: By `warmup_steps`.
            steps: Of the whole search.
            unit: The same as for `warmup_steps`.
        """
        return 0

    @property
    def resting_share(self) -> float:
        """Share of the search in which the architecture rests; 0: it never does."""
        return 0.0

    @property
    def shown_score(self) -> str:
        """Kind of score that figures show (`sif.core.method.ArchReport.scores`)."""
        return "gradient"


class RelaxationSettings(MethodSettings):
    """Settings of DARTS, SNAS and GDAS: the Adam step of alpha, as in DARTS, appendix A.1.1."""

    arch_lr: Rate = Field(3e-4, description="Adam step size of alpha")
    arch_weight_decay: NonNegative = Field(1e-3, description="weight decay of alpha")
