"""Spaces of interaction functions and losses by name, and designs of genotypes of any space.

A space or a loss is one value in one file, and one line: here, or an entry point of the package
that brings it (CONTRIBUTING.md). Importing this module loads none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sif.errors import ConfigError, GenotypeError
from sif.utils.registry import Registry

if TYPE_CHECKING:
    from sif.core.genotype import Genotype
    from sif.spaces.interaction.function import Design
    from sif.spaces.interaction.losses import LossKind
    from sif.spaces.interaction.space_kind import SpaceKind

_HERE = "sif.spaces.interaction"

SPACES: Registry[SpaceKind] = Registry(
    "space", "sif.spaces", f"{_HERE}.space_kind:SpaceKind",
    {
        "sif": f"{_HERE}.supernet:SIF_SPACE",
        "primitives": f"{_HERE}.supernet:PRIMITIVES_SPACE",
        "staged": f"{_HERE}.staged_supernet:STAGED_SPACE",
    },
)  # fmt: skip

LOSSES: Registry[LossKind] = Registry(
    "loss", "sif.losses", f"{_HERE}.losses:LossKind",
    {
        "whole-data": f"{_HERE}.losses.whole_data:WHOLE_DATA",
        "bpr": f"{_HERE}.losses.bpr:BPR",
        "softmax": f"{_HERE}.losses.softmax:SOFTMAX",
        "bsl": f"{_HERE}.losses.bilateral_softmax:BSL",
        "softmax-at-k": f"{_HERE}.losses.softmax_at_k:SOFTMAX_AT_K",
        "cosine-contrastive": f"{_HERE}.losses.cosine_contrastive:COSINE_CONTRASTIVE",
        "bce": f"{_HERE}.losses.bce:BCE",
        "squared": f"{_HERE}.losses.squared:SQUARED",
    },
)  # fmt: skip


def design_of(genotype: Genotype, fields: Sequence[str]) -> Design:
    """The design of a genotype.

    Args:
        genotype: Of any space of interaction functions.
        fields: Names of the fields, user and item first.

    Raises:
        GenotypeError: Another space, unknown names, or missing numbers.
    """
    return _kind(genotype).design(genotype, fields)


def expression(genotype: Genotype, fields: Sequence[str]) -> str:
    """The genotype on one line; GenotypeError for an operation that the fields do not have."""
    return _kind(genotype).expression(genotype, fields)


def _kind(genotype: Genotype) -> SpaceKind:
    try:
        return SPACES.named(genotype.space, "genotype: space")
    except ConfigError as error:
        raise GenotypeError(str(error)) from None
