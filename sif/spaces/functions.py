"""Functions by name: the presets of the space, and what a genotype of it stands for.

A genotype goes in; its element-wise functions, its operation, its one-line expression or a network
of it comes out. A function may also get its readout in closed form, so that one that was never
trained can be judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sif.errors import GenotypeError
from sif.genotype import Genotype, check_names
from sif.spaces.elementwise import PRIMITIVES, Elementwise, Mlp
from sif.spaces.interaction import Interaction, InteractionNetwork, TableShape
from sif.spaces.operations import Factors, Operation, operations_for

OPERATION_BLOCK = "operation"
_LETTERS = "PQRSTUVWXYZ"
RIDGE = 1e-3
"""Ridge of the readout fits, relative to the mean square of the features."""


@dataclass(frozen=True)
class FunctionSpec:
    """What distinguishes one preset of the space from another.

    Attributes:
        name: Of the space, as written in genotypes.
        operations: Names in `operations_for(number of fields)`; None: all of them.
        transforms: Names in `PRIMITIVES` to choose from per field; empty: a learned `Mlp` each.
    """

    name: str
    operations: tuple[str, ...] | None = None
    transforms: tuple[str, ...] = ()

    def operations_of(self, fields: int) -> tuple[str, ...]:
        """Names of the operations to choose from with that many fields."""
        return tuple(operations_for(fields)) if self.operations is None else self.operations


SPECS: dict[str, FunctionSpec] = {
    "sif": FunctionSpec("sif"),
    "primitives": FunctionSpec("primitives", transforms=tuple(PRIMITIVES)),
}


def legal_names(spec: FunctionSpec, fields: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Block name to the operations a genotype may name there."""
    names = {OPERATION_BLOCK: spec.operations_of(len(fields))}
    return names | {field: spec.transforms for field in fields if spec.transforms}


def expression(genotype: Genotype, fields: Sequence[str]) -> str:
    """The genotype on one line; GenotypeError for an operation that the fields do not have."""
    operation = _operation(genotype, fields)
    if len(genotype.blocks) == 1:
        return operation.written([f"{c}({f})" for c, f in zip(_LETTERS, fields, strict=False)])
    return operation.written([f"{genotype.operation(field)}({field})" for field in fields])


def _operation(genotype: Genotype, fields: Sequence[str]) -> Operation:
    name = genotype.operation(OPERATION_BLOCK)
    known = operations_for(len(fields))
    if name not in known:
        raise GenotypeError(
            f"genotype: expected an operation of {len(fields)} fields ({', '.join(fields)}), "
            f"found {name!r}"
        )
    return known[name]


def function_of(genotype: Genotype, fields: Sequence[str]) -> tuple[list[Elementwise], Operation]:
    """The transforms and the operation a genotype names.

    Raises:
        GenotypeError: Another space, unknown names, or missing numbers.
    """
    spec = SPECS.get(genotype.space)
    if spec is None:
        raise GenotypeError(
            f"genotype: expected space {' or '.join(SPECS)}, found {genotype.space!r}"
        )
    check_names(genotype, spec.name, legal_names(spec, fields))
    for name, choices in genotype.blocks.items():
        if choices[0][0] != 0 or len(choices) != 1:
            raise GenotypeError(f"genotype: block {name!r}: expected edge 0 alone")
    operation = _operation(genotype, fields)
    make: Callable[[str], Elementwise] = (
        (lambda field: PRIMITIVES[genotype.operation(field)])
        if spec.transforms
        else (lambda field: _learned(genotype, field))
    )
    return [make(field) for field in fields], operation


def _learned(genotype: Genotype, field: str) -> Elementwise:
    expected = Mlp(torch.Generator()).state_dict()
    numbers: dict[str, Tensor] = {}
    for name, like in expected.items():
        shape, values = genotype.parameters.get(f"{field}.{name}", (None, ()))
        if shape != tuple(like.shape):
            raise GenotypeError(
                f"genotype: parameter '{field}.{name}': expected shape {list(like.shape)}, "
                f"found {'none' if shape is None else list(shape)}"
            )
        numbers[name] = torch.tensor(values, dtype=like.dtype).reshape(like.shape)
    return Mlp.from_numbers(numbers)


def network(
    genotype: Genotype, shape: TableShape, fields: Sequence[str], generator: torch.Generator
) -> InteractionNetwork:
    """The network of a genotype with fresh weights."""
    transforms, operation = function_of(genotype, fields)
    return InteractionNetwork(shape, transforms, operation, generator)


class RidgeFitted(Interaction):
    """An interaction whose readout and constant come from ridge regression on given rows."""

    def __init__(self, base: Interaction, ids: Tensor, target: Tensor, weight: Tensor) -> None:
        super().__init__(base.tables, base.transforms, base.operation, base.readout)
        features = self.features(ids)
        design = torch.cat([features, torch.ones_like(target)[:, None]], dim=1).double()
        weighted = design * weight.double()[:, None]
        gram = weighted.T @ design
        gram.diagonal().add_(RIDGE * gram.diagonal().mean() + 1e-12)
        rest = (target - base.tables.offset(ids)).double()
        solution = torch.linalg.solve(gram, weighted.T @ rest).to(features.dtype)
        self._weights, self._constant = solution[:-1], solution[-1]

    def interact(self, ids: Tensor) -> Tensor:
        """The fitted readout and constant at ids (n, k): (n,)."""
        fitted: Tensor = self.features(ids) @ self._weights + self._constant
        return fitted

    def factors(self) -> Factors | None:
        """None, whatever the operation."""
        return None  # candidates are compared on the same drawn combinations
