"""The pieces of interaction functions that look vectors up, over one user and many items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from sif.core.pieces import Applied, Example, Piece, Pieces
from sif.spaces.interaction.embeddings import Tables, TableShape, clip_readout
from sif.spaces.interaction.function import Design, InteractionNetwork
from sif.spaces.interaction.operations import Operation
from sif.spaces.interaction.transforms import Elementwise, is_identity

PAIRS = 1000
"""Items of the one user whose scores are measured."""


def measured_ids(sizes: Sequence[int]) -> Tensor:
    """Ids (PAIRS, k) of the measured pairs: one user with items in turn."""
    rows = torch.arange(PAIRS)
    return torch.stack([rows % (n if field else 1) for field, n in enumerate(sizes)], dim=1)


def function_pieces(
    block: str, operations: Mapping[str, Operation], fields: Sequence[str],
    chosen: Mapping[str, Elementwise], learned: Sequence[Elementwise], shape: TableShape,
    like: Tensor,
) -> Pieces:  # fmt: skip
    """The pieces of all functions of a space.

    Args:
        block: Name of the operations' block.
        operations: By name.
        fields: Names of the fields, and of the blocks of their transforms.
        chosen: The transforms that fields choose from, by name; empty: they are learned.
        learned: Transform of each field where they are learned.
        shape: Of the tables.
        like: Gives device and dtype.
    """
    d, k = shape.dimension, len(fields)

    def vectors(rows: int) -> Callable[[], tuple[Tensor, ...]]:
        return lambda: (torch.randn(rows, d, dtype=like.dtype, device=like.device),)

    def transform(name: str, function: Elementwise, field: int) -> list[Piece]:
        if is_identity(function):
            return []
        # Small tables are transformed as a whole (`Interaction.fields`).
        rows = min(shape.sizes[field], PAIRS)
        return [Piece(f"{name} {rows}x{d}", lambda: Applied(function), vectors(rows))]

    ids = partial(measured_ids, shape.sizes)
    sizes = "x".join(map(str, shape.sizes))
    fixed = [
        Piece(
            f"look-up {sizes}x{d} {shape.biases:d}{shape.intercept:d}",
            lambda: _LookUp(shape).to(like.device, like.dtype),
            lambda: (ids().to(like.device),),
        )
    ]
    for field, function in enumerate(learned):
        fixed += transform(f"learned {fields[field]}", function, field)
    edge = {
        name: [
            Piece(
                f"{name} {PAIRS}x{d}", partial(_Combine, shape, operation, like),
                lambda: vectors(PAIRS)() * k,
            )
        ]
        for name, operation in operations.items()
    }  # fmt: skip
    candidates = {block: [edge]}
    for field, name in enumerate(fields if chosen else ()):
        candidates[name] = [{n: transform(n, f, field) for n, f in chosen.items()}]
    told = f"one user's scores of {PAIRS} items"
    pieces = Pieces(fixed, candidates, told, entrywise=True)
    examples = []
    for turn, (name, operation) in enumerate(operations.items()):
        names = [list(chosen)[turn % len(chosen)]] * k if chosen else []
        functions = tuple(chosen[n] for n in names) if chosen else tuple(learned)
        design = Design(functions, operation, trained_readout=shape.trained_readout)
        whole = Piece(
            f"function {name} {' '.join(names)} {sizes}x{d}",
            partial(_network, design, shape, like), lambda: (ids().to(like.device),),
        )  # fmt: skip
        kept = {block: ((0, name),)} | {f: ((0, n),) for f, n in zip(fields, names, strict=False)}
        examples.append(Example(whole, pieces.parts(kept)))
    return replace(pieces, examples=examples)


def _network(design: Design, shape: TableShape, like: Tensor) -> nn.Module:
    return InteractionNetwork(design, shape, torch.Generator()).to(like.device, like.dtype)


class _LookUp(nn.Module):
    """The rows of all fields, and the constant with the biases."""

    def __init__(self, shape: TableShape) -> None:
        super().__init__()
        self.tables = Tables(shape, torch.Generator())

    def forward(self, ids: Tensor) -> tuple[list[Tensor], Tensor]:
        """Vectors (n, d) of each field at ids (n, k), and the offset (n,)."""
        vectors = [table[ids[:, field]] for field, table in enumerate(self.tables.embeddings)]
        return vectors, self.tables.offset(ids)


class _Combine(nn.Module):
    """An operation with its readout; the sum with the offset is its own."""

    def __init__(self, shape: TableShape, operation: Operation, like: Tensor) -> None:
        super().__init__()
        self.operation = operation
        readout = shape.initial_readout(operation).to(like)
        self.readout = nn.Parameter(readout, requires_grad=shape.trained_readout)

    def forward(self, *fields: Tensor) -> Tensor:
        """Vectors (n, d) of every field to scores (n,)."""
        scores = self.operation.combine(fields) @ clip_readout(self.readout)
        return scores + self.readout[0]
