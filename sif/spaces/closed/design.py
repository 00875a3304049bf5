"""Designs of closed forms as genotypes: the family is a block, its constants are parameters."""

from __future__ import annotations

from collections.abc import Mapping

from sif.core.genotype import Genotype, check_names
from sif.errors import GenotypeError
from sif.spaces.closed.family import Family
from sif.spaces.closed.filters import ChebyshevFilter, GraphFilter
from sif.spaces.closed.item_item import ItemItem
from sif.spaces.closed.spectrum import Spectrum

NAME = "closed"
"""Of the space, as written in genotypes."""
BLOCK = "family"
ANY = "any"
"""The family that a search has yet to find."""
FAMILIES: Mapping[str, type[Family]] = {
    kind.name: kind for kind in (GraphFilter, Spectrum, ItemItem, ChebyshevFilter)
}
"""Those of a search, the quickest first."""
LATER: Mapping[str, float] = {"features": 0.0}
"""Constants that earlier versions did not have, and what they were then."""
OPEN = Genotype(NAME, {BLOCK: ((0, ANY),)})
"""The design of whatever a search finds."""


def genotype_of(design: Family) -> Genotype:
    """The genotype of a design."""
    constants = {name: ((1,), (value,)) for name, value in design.constants.items()}
    return Genotype(NAME, {BLOCK: ((0, design.name),)}, constants)


def closed_design(genotype: Genotype) -> Family:
    """The design of a genotype.

    Raises:
        GenotypeError: Another space, family or other constants.
    """
    check_names(genotype, NAME, {BLOCK: tuple(FAMILIES)})
    kind = FAMILIES[genotype.operation(BLOCK)]
    expected = set(kind().constants)
    found = {name: numbers for name, (shape, numbers) in genotype.parameters.items()}
    for name in expected & LATER.keys() - found.keys():  # written by an earlier version
        found[name] = (LATER[name],)
    if set(found) != expected or any(len(numbers) != 1 for numbers in found.values()):
        raise GenotypeError(
            f"genotype: {kind.name}: expected one number for each of "
            f"{', '.join(sorted(expected))}, found {', '.join(sorted(found)) or 'none'}"
        )
    return kind(**{name: numbers[0] for name, numbers in found.items()})


def notation(genotype: Genotype) -> str:
    """A genotype on one line."""
    if genotype == OPEN:
        return "a closed form"
    return closed_design(genotype).expression
