"""Presets of the space of interaction functions; designs and expressions of their genotypes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sif.core.genotype import Genotype, check_names
from sif.errors import GenotypeError
from sif.spaces.interaction.encoders import ENCODINGS
from sif.spaces.interaction.function import Design
from sif.spaces.interaction.losses import WEIGHTINGS
from sif.spaces.interaction.operations import (
    OPERATIONS,
    SUMS,
    Operation,
    operation_named,
    operations_for,
)
from sif.spaces.interaction.transforms import IDENTITY, PRIMITIVES, Elementwise, Mlp

OPERATION_BLOCK, ENCODING_BLOCK = "operation", "encoding"
EMBEDDING_BLOCK, WEIGHTING_BLOCK = "embedding", "weighting"
SIMILARITY_BLOCK, LOSS_BLOCK, FEATURES_BLOCK = "similarity", "loss", "features"
OPTIONAL = (SIMILARITY_BLOCK, LOSS_BLOCK, FEATURES_BLOCK)
"""Blocks that genotypes name only where they are not neutral."""
PRODUCT, COSINE = SIMILARITIES = ("product", "cosine")
"""Vectors as they are, or scaled to length 1, so that their product is a cosine."""
NO_FEATURES, ADDED = FEATURE_USES = ("none", "added")
"""Features are no part of a function, or have a part in the vectors of what they describe."""
SEARCHED_LOSSES = ("whole-data", "softmax", "bsl", "softmax-at-k", "cosine-contrastive", "bpr")
"""Losses of rankings that a search chooses from."""
EMBEDDINGS = ("identity", "elementwise", "graph")
"""Treatments of encoded vectors: nothing, a learned `Mlp` per field, light propagation."""
_LETTERS = "PQRSTUVWXYZ"


@dataclass(frozen=True)
class FunctionSpec:
    """A preset of the space.

    Attributes:
        name: Of the space, as written in genotypes.
        operations: Names in `operations_for(number of fields)`; None: all of them.
        transforms: Names in `PRIMITIVES` to choose from per field; empty: a learned `Mlp` each.
        stages: Block name to its choices, the neutral one first, of what stands around the
            function; empty: embeddings by id, nothing else.
    """

    name: str
    operations: tuple[str, ...] | None = None
    transforms: tuple[str, ...] = ()
    stages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def operations_of(self, fields: int) -> tuple[str, ...]:
        """Names of the operations to choose from with that many fields."""
        return tuple(operations_for(fields)) if self.operations is None else self.operations


SPECS: dict[str, FunctionSpec] = {
    "sif": FunctionSpec("sif"),
    "primitives": FunctionSpec("primitives", transforms=tuple(PRIMITIVES)),
    "staged": FunctionSpec(
        "staged",
        operations=(*OPERATIONS, *SUMS),
        stages={
            ENCODING_BLOCK: ENCODINGS,
            EMBEDDING_BLOCK: EMBEDDINGS,
            WEIGHTING_BLOCK: tuple(WEIGHTINGS),
            SIMILARITY_BLOCK: SIMILARITIES,
            LOSS_BLOCK: SEARCHED_LOSSES,
            FEATURES_BLOCK: FEATURE_USES,
        },
    ),
}


def legal_names(spec: FunctionSpec, fields: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Block name to the operations a genotype may name there, `OPTIONAL` blocks left out."""
    stages = {name: choices for name, choices in spec.stages.items() if name not in OPTIONAL}
    names = {OPERATION_BLOCK: spec.operations_of(len(fields)), **stages}
    return names | {field: spec.transforms for field in fields if spec.transforms}


def plain_product(fields: Sequence[str]) -> Genotype:
    """The product of the embeddings, as a function of `primitives`."""
    names = dict.fromkeys(fields, ((0, IDENTITY),))
    return Genotype("primitives", {OPERATION_BLOCK: ((0, "multiply"),), **names})


def spec_expression(genotype: Genotype, fields: Sequence[str]) -> str:
    """A preset's genotype on one line.

    Raises:
        GenotypeError: An operation that the fields do not have.
    """
    operation = _operation(genotype, fields)
    if ENCODING_BLOCK in genotype.blocks:
        return _stages_expression(genotype, operation, fields)
    if len(genotype.blocks) == 1:
        return operation.written([f"{c}({f})" for c, f in zip(_LETTERS, fields, strict=False)])
    return operation.written([f"{genotype.operation(field)}({field})" for field in fields])


def fields_of(genotype: Genotype) -> tuple[str, ...]:
    """Fields of a genotype by its blocks and parameters: user and item where these name none."""
    names = [name for name in genotype.blocks if name != OPERATION_BLOCK]
    if ENCODING_BLOCK in genotype.blocks or not names:
        names = [name.split(".")[0] for name in genotype.parameters]
    return tuple(dict.fromkeys(names)) or ("user", "item")


def _stages_expression(genotype: Genotype, operation: Operation, fields: Sequence[str]) -> str:
    """Such as "multiply(history(user), item), weighted by users"."""
    written = {"id": "{0}", "history": "history({0})", "both": "{0} + history({0})"}
    embedding = genotype.operation(EMBEDDING_BLOCK)
    around = {"identity": "{0}", "graph": "graph({0})", "elementwise": "{1}({0})"}[embedding]
    arguments = [
        around.format(written[name].format(field), letter)
        for (_, name), field, letter in zip(
            genotype.blocks[ENCODING_BLOCK], fields, _LETTERS, strict=False
        )
    ]
    weighting = genotype.operation(WEIGHTING_BLOCK)
    by = {"even": "", "both": ", weighted by users and items"}
    told = operation.written(arguments)
    if _chosen(genotype, SIMILARITY_BLOCK) == COSINE:
        told = f"cosine {told}"
    loss = _chosen(genotype, LOSS_BLOCK)
    fitted = f", fitted by {loss}" if loss else ""
    described = ", features added" if has_features(genotype) else ""
    return told + described + by.get(weighting, f", weighted by {weighting}") + fitted


def has_features(genotype: Genotype) -> bool:
    """True for a function that features have a part in."""
    return _chosen(genotype, FEATURES_BLOCK) == ADDED


def without_features(genotype: Genotype) -> Genotype:
    """The same function, of which features are no part."""
    blocks = {name: edges for name, edges in genotype.blocks.items() if name != FEATURES_BLOCK}
    return replace(genotype, blocks=blocks)


def _chosen(genotype: Genotype, block: str) -> str:
    """The choice of an optional block; empty where the genotype does not name it."""
    return genotype.operation(block) if block in genotype.blocks else ""


def _operation(genotype: Genotype, fields: Sequence[str]) -> Operation:
    name = genotype.operation(OPERATION_BLOCK)
    operation = operation_named(name, len(fields))
    if operation is None:
        raise GenotypeError(
            f"genotype: expected an operation of {len(fields)} fields ({', '.join(fields)}), "
            f"found {name!r}"
        )
    return operation


def spec_design(spec: FunctionSpec, genotype: Genotype, fields: Sequence[str]) -> Design:
    """The design of a preset's genotype.

    Raises:
        GenotypeError: Another space, unknown names, or missing numbers.
    """
    named = {k: v for k, v in spec.stages.items() if k in OPTIONAL and k in genotype.blocks}
    check_names(genotype, spec.name, {**legal_names(spec, fields), **named})
    for name, choices in genotype.blocks.items():
        edges = len(fields) if name == ENCODING_BLOCK else 1
        if [edge for edge, _ in choices] != list(range(edges)):
            expected = "edge 0 alone" if edges == 1 else f"edges 0 to {edges - 1}"
            raise GenotypeError(f"genotype: block {name!r}: expected {expected}")
    operation = _operation(genotype, fields)
    if spec.stages:
        return _staged(genotype, fields, operation)
    if spec.transforms:
        transforms = tuple(PRIMITIVES[genotype.operation(field)] for field in fields)
        return Design(transforms, operation)
    return Design(tuple(_learned(genotype, field) for field in fields), operation)


def _staged(genotype: Genotype, fields: Sequence[str], operation: Operation) -> Design:
    embedding, unit = genotype.operation(EMBEDDING_BLOCK), _unit(genotype)
    transforms = [
        _learned(genotype, field) if embedding == "elementwise" else PRIMITIVES[IDENTITY]
        for field in fields
    ]
    encodings = tuple(name for _, name in genotype.blocks[ENCODING_BLOCK])
    return Design(
        tuple(transforms),
        operation,
        () if set(encodings) == {"id"} else encodings,
        embedding == "graph",
        genotype.operation(WEIGHTING_BLOCK),
        trained_readout=False,
        unit=unit,
        loss=_chosen(genotype, LOSS_BLOCK),
        features=has_features(genotype),
    )


def _unit(genotype: Genotype) -> bool:
    """True for vectors of length 1; GenotypeError for learned functions of such."""
    unit = _chosen(genotype, SIMILARITY_BLOCK) == COSINE
    if unit and genotype.operation(EMBEDDING_BLOCK) == "elementwise":
        raise GenotypeError("genotype: similarity cosine: expected no embedding elementwise")
    return unit


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
