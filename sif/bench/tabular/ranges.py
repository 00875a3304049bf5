"""Range classes, which free embeddings make equal, and families, which trainings find alike.

An embedding can take any value, so of a transform only its range matters: all reals (R), one
half of them (+ or -). A readout with free signs then makes further functions equal:

- plus and concat are a term of the user and one of the item, whatever the ranges: `additive`;
- multiply hands the sign of a half to the readout, which leaves 4 classes;
- min(a, b) = -max(-a, -b) is max of the negated ranges;
- max(+, -) is its first argument alone and max(-, +) its second;
- beside a half above 0 nothing below 0 counts: max(R, +) and max(+, R) are max(+, +), which leaves
  max 5 classes.

`tests/bench/tabular/test_tabular.py` derives the same 12 classes by enumeration.

Trained embeddings are not free: L2 keeps them small and they start near 0, where a square is flat
and a root steep. A family is a class with the growth of either transform: sqrt, abs or square.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sif.core.genotype import Genotype
from sif.errors import GenotypeError
from sif.spaces.interaction.design import OPERATION_BLOCK, SPECS
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.interaction.registry import design_of

if TYPE_CHECKING:
    from sif.spaces.interaction.transforms import Elementwise

Names = tuple[str, str, str]
"""Operation, user's transform, item's transform, as a genotype of `primitives` writes them."""

Family = tuple[str, ...]
"""Range class, then the growth of user's and item's transform."""

FIELDS = ("user", "item")
ADDITIVE, USER_ALONE, ITEM_ALONE = "additive", "user alone", "item alone"
REAL, POSITIVE, NEGATIVE, HALF = "R", "+", "-", "half"
_NEGATED = {REAL: REAL, POSITIVE: NEGATIVE, NEGATIVE: POSITIVE}
REACH = 2.0
"""Transforms are looked at on [-REACH, REACH], where a learned one starts close to x + offset."""
ONE_SIDED = 0.05
"""A learned transform whose smaller side is below this part of its larger one has one side."""
_POINTS = 401
GROWTHS = {"sqrt": 0.5, "abs": 1.0, "square": 2.0}
"""Magnitudes to their power of |x|."""
_NEAR, _FAR = 0.5, 2.0


def genotype_of(names: Names) -> Genotype:
    """The genotype of `primitives` with an operation and two transforms."""
    blocks = dict(zip((OPERATION_BLOCK, *FIELDS), names, strict=True))
    return Genotype("primitives", {block: ((0, name),) for block, name in blocks.items()})


def names_of(genotype: Genotype) -> Names:
    """The three names of a genotype of `primitives`; GenotypeError for any other."""
    if genotype.space != "primitives":
        raise GenotypeError(
            f"genotype: expected space 'primitives', found {genotype.space!r}; "
            "sif.bench.tabular.surrogate answers for 'sif'"
        )
    operation, user, item = (genotype.operation(block) for block in (OPERATION_BLOCK, *FIELDS))
    return operation, user, item


def range_of(transform: Elementwise) -> str:
    """R, + or -, by the values of a transform on [-`REACH`, `REACH`]."""
    import torch

    with torch.no_grad():
        values = transform(torch.linspace(-REACH, REACH, _POINTS))
    above, below = max(float(values.max()), 0.0), max(-float(values.min()), 0.0)
    if below <= ONE_SIDED * above:
        return POSITIVE
    return NEGATIVE if above <= ONE_SIDED * below else REAL


def growth_of(transform: Elementwise) -> str:
    """The magnitude whose power of |x| is nearest, by what a transform gains from 0 to .5 and 2."""
    import torch

    with torch.no_grad():
        values = transform(torch.tensor([0.0, _NEAR, -_NEAR, _FAR, -_FAR])).double()
    near, far = (float((values[i : i + 2] - values[0]).abs().sum()) for i in (1, 3))
    if min(near, far) <= 0:
        return "square" if near <= 0 else "sqrt"
    power = math.log(far / near) / math.log(_FAR / _NEAR)
    return min(GROWTHS, key=lambda name: abs(math.log(max(power, 1e-9) / GROWTHS[name])))


def class_of(operation: str, user: str, item: str) -> str:
    """The class of an operation on ranges R, + or -; GenotypeError for an unknown operation."""
    if operation not in OPERATIONS:
        raise GenotypeError(
            f"genotype: expected an operation of {', '.join(OPERATIONS)}, found {operation!r}"
        )
    if OPERATIONS[operation].additive:
        return ADDITIVE
    if operation == "multiply":
        sides = (REAL if side == REAL else HALF for side in (user, item))
        return f"multiply({','.join(sides)})"
    if operation == "min":
        user, item = _NEGATED[user], _NEGATED[item]
    if (user, item) == (POSITIVE, NEGATIVE):
        return USER_ALONE
    if (user, item) == (NEGATIVE, POSITIVE):
        return ITEM_ALONE
    if POSITIVE in (user, item):
        user = item = POSITIVE
    return f"max({user},{item})"


def range_class(genotype: Genotype) -> str:
    """The class of a function of `primitives` or `sif` on user and item.

    Raises:
        GenotypeError: Another space, another operation than the five, or a malformed genotype.
    """
    return family(genotype)[0]


def family(genotype: Genotype) -> Family:
    """Class and growths of a function, without a silent side; errors: see `range_class`."""
    spec = SPECS.get(genotype.space)
    if spec is None or spec.stages:
        raise GenotypeError(
            f"genotype: expected space 'primitives' or 'sif', found {genotype.space!r}"
        )
    design = design_of(genotype, FIELDS)
    user, item = (range_of(transform) for transform in design.transforms)
    kind = class_of(design.operation.name, user, item)
    grown = tuple(growth_of(transform) for transform in design.transforms)
    heard = {USER_ALONE: slice(0, 1), ITEM_ALONE: slice(1, 2)}.get(kind, slice(2))
    return (kind, *grown[heard])
