"""Genotypes of item-item models that nothing searched: their time scales are numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sif.core.genotype import Genotype
from sif.errors import ConfigError, GenotypeError
from sif.spaces.linear.design import given_genotype, linear_design
from sif.spaces.linear.sequences import Decay


@pytest.mark.parametrize(
    "decays", [(), (Decay(0.8, 20),), (Decay(1.0, 1),), (Decay(0.5, 3), Decay(1.0))]
)
def test_numbers_are_the_time_scales(decays: tuple[Decay, ...]) -> None:
    genotype = given_genotype(decays)
    again = Genotype.from_json(genotype.to_json())
    assert linear_design(again).decays == linear_design(genotype).decays == decays
    assert linear_design(genotype).scales == max(1, len(decays))


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {}},
        {"parameters": {"decays": ((2,), (0.8, 20.0))}},
        {"parameters": {"decays": ((0, 2), ())}},
        {"blocks": {"target": ((0, "any"),)}},
        {"blocks": {"target": ((0, "next-0.3"),)}},
        {"blocks": {}},
    ],
)
def test_what_does_not_fit_together_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(GenotypeError):
        linear_design(replace(given_genotype([Decay(0.8, 20)]), **change))  # type: ignore[arg-type]


def test_numbers_out_of_range_are_refused() -> None:
    scales = {"decays": ((1, 2), (1.5, 20.0))}
    with pytest.raises(ConfigError, match="gamma"):
        linear_design(replace(given_genotype([Decay(0.8, 20)]), parameters=scales))
