"""Vector-wise operations O of an interaction function, for any number of fields.

For three fields there are, beside the uniform ones, the nested ones of SIF (WWW 2020): two fields
meet in one binary operation, and the result meets the third in another. They are made from the
binary table, so that a row added there is nested too.

`combine` maps k tensors (..., d) to one (..., width). `factors`, where an operation has it, writes
the interaction of two fields as a plain product: w^T O(p_u, q_v) = A_u . B_v for all pairs at once,
which makes whole-catalogue losses and scores one matrix product. `maxima` writes it as a weighted
sum of maxima, w^T O(p_u, q_v) = sum_r c_r max(A_ur, B_vr), for which there is a compiled kernel.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Pair = Callable[[Tensor, Tensor], Tensor]
Factors = tuple[Tensor, Tensor]
Maxima = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Operation:
    """One way to combine the fields' vectors.

    Attributes:
        name: Name in genotypes: "max", or nested with places of fields counted from 1,
            "max(multiply(1,2),3)".
        combine: k tensors (..., d) to (..., width).
        width: Entries of the output per embedding dimension, given k fields.
        factors: p (n, d), q (m, d), w (width) to A (n, r), B (m, r) with A @ B.T the interaction
            of every pair; None where no such form exists.
        maxima: p (n, d), q (m, d), w (width) to A (n, r), B (m, r), c (r); None where no such form
            exists or `factors` is better. |x - y| would be max(x, y) + max(-x, -y).
        additive: Whether p enters as a summand alone, so that every p orders the q alike.
        parts: Of a sum, whose width and readout are theirs one after the other.
        pair: `combine` of two fields as a function that `torch.jit.script` compiles; None for sums
            and nested operations, which are made of such.
    """

    name: str
    combine: Callable[[Sequence[Tensor]], Tensor]
    width: Callable[[int], int] = lambda fields: 1
    factors: Callable[[Tensor, Tensor, Tensor], Factors] | None = None
    maxima: Callable[[Tensor, Tensor, Tensor], Maxima] | None = None
    additive: bool = False
    parts: tuple[Operation, ...] = ()
    pair: Pair | None = None

    def written(self, arguments: Sequence[str]) -> str:
        """The operation of the k arguments, such as "max(multiply(u, v), t)"."""
        if "(" not in self.name:
            return f"{self.name}({', '.join(arguments)})"
        spaced = self.name.replace(",", ", ")
        return re.sub(r"\d+", lambda place: arguments[int(place[0]) - 1], spaced)


def _folded(name: str, pair: Pair, **others: Any) -> Operation:
    """An operation of any number of fields from its form for two; `others` go to `Operation`."""
    return Operation(name, lambda fields: functools.reduce(pair, fields), pair=pair, **others)


def _concat(p: Tensor, q: Tensor) -> Tensor:
    """Vectors (..., d) and (..., e) that broadcast to (..., d + e)."""
    rows = torch.broadcast_tensors(p[..., 0], q[..., 0])[0].shape
    return torch.cat([p.expand(rows + p.shape[-1:]), q.expand(rows + q.shape[-1:])], dim=-1)


def _maximum(p: Tensor, q: Tensor) -> Tensor:
    """max(p, q) but for rounding; where both are equal, q gets the gradient.

    Not torch.maximum, whose backward pass takes masks that cost ten times the arithmetic here.
    """
    return q + torch.relu(p - q)


def _minimum(p: Tensor, q: Tensor) -> Tensor:
    """min(p, q); see `_maximum`."""
    return q - torch.relu(q - p)


def separable(a: Tensor, b: Tensor) -> Factors:
    """a_u + b_v as the product (a_u, 1) . (1, b_v), from (n,) and (m,)."""
    left = torch.stack([a, torch.ones_like(a)], dim=1)
    return left, torch.stack([torch.ones_like(b), b], dim=1)


OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        _folded("multiply", torch.mul, factors=lambda p, q, w: (p * w, q)),
        _folded("plus", torch.add, factors=lambda p, q, w: separable(p @ w, q @ w), additive=True),
        # min(x, y) = -max(-x, -y), without rounding
        _folded("min", _minimum, maxima=lambda p, q, w: (-p, -q, -w)),
        _folded("max", _maximum, maxima=lambda p, q, w: (p, q, w)),
        _folded(
            "concat",
            _concat,
            width=lambda fields: fields,
            factors=lambda p, q, w: separable(p @ w[: p.shape[1]], q @ w[p.shape[1] :]),
            additive=True,
        ),
    )
}
"""The five operations of SIF (WWW 2020, Table 2), in the published order of the code."""


def _nested(inner: Operation, outer: Operation, pair: tuple[int, int], third: int) -> Operation:
    """outer(inner(first, second), third) of three fields; `pair` and `third` count from 0."""
    first, second = pair

    def combine(fields: Sequence[Tensor]) -> Tensor:
        return outer.combine([inner.combine([fields[first], fields[second]]), fields[third]])

    name = f"{outer.name}({inner.name}({first + 1},{second + 1}),{third + 1})"
    return Operation(name, combine, width=lambda fields: outer.width(2))


_GROUPINGS = (((0, 1), 2), ((0, 2), 1), ((1, 2), 0))


def nested_operations(table: Mapping[str, Operation] = OPERATIONS) -> dict[str, Operation]:
    """Every nested operation of three fields, by name.

    One operation twice is left out: the table's operations are associative and commutative, so that
    is the uniform one. concat is only ever outermost, since the other operations need equal widths.

    Returns:
        16 pairs of operations in 3 groupings, 48 in all from `OPERATIONS`.
    """
    nested = [
        _nested(inner, outer, pair, third)
        for inner, outer in itertools.product(table.values(), repeat=2)
        if inner.width(2) == 1 and inner is not outer
        for pair, third in _GROUPINGS
    ]
    return {operation.name: operation for operation in nested}


def _sum_of(one: Operation, other: Operation) -> Operation:
    """Both interactions of the same vectors, each with a readout of its own."""

    def combine(fields: Sequence[Tensor]) -> Tensor:
        return torch.cat([one.combine(fields), other.combine(fields)], dim=-1)

    def factors(p: Tensor, q: Tensor, w: Tensor) -> Factors:
        assert one.factors is not None and other.factors is not None  # noqa: S101
        d = p.shape[1] * one.width(2)
        a, b = one.factors(p, q, w[:d]), other.factors(p, q, w[d:])
        return torch.cat([a[0], b[0]], dim=1), torch.cat([a[1], b[1]], dim=1)

    has_factors = one.factors is not None and other.factors is not None
    return Operation(
        f"{one.name}+{other.name}",
        combine,
        width=lambda fields: one.width(fields) + other.width(fields),
        factors=factors if has_factors else None,
        additive=one.additive and other.additive,
        parts=(one, other),
    )


SUMS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        _sum_of(OPERATIONS[one], OPERATIONS[other])
        for one, other in (
            ("multiply", "plus"), ("multiply", "min"), ("multiply", "max"), ("min", "max"),
        )
    )
}  # fmt: skip
"""Sums of two operations of two fields; none with concat, which is plus in another form."""


def shares(operation: Operation, readout: Tensor, dimension: int) -> list[tuple[Operation, Tensor]]:
    """The operations of two fields that one is a sum of, each with its share of the readout."""
    parts = operation.parts or (operation,)
    sizes = [part.width(2) * dimension for part in parts]
    return list(zip(parts, readout.split(sizes), strict=True))


def field_weights(operation: Operation, readout: Tensor, dimension: int, field: int) -> Tensor:
    """Weights (d,) of one of two fields' coordinates: the sums of |w| where they enter.

    An entry of concat is one field's, the user's first; every other entry is both fields'.
    """
    total = readout.new_zeros(dimension)
    for _, share in shares(operation, readout, dimension):
        rows = share.abs().view(-1, dimension)
        total = total + rows[field if len(rows) > 1 else 0]
    return total


def operation_named(name: str, fields: int) -> Operation | None:
    """An operation of that many fields, sums of two included; None for an unknown name."""
    return operations_for(fields).get(name) or (SUMS.get(name) if fields == 2 else None)


@functools.cache
def operations_for(fields: int) -> Mapping[str, Operation]:
    """The operations of that many fields: the uniform ones, and for three also the nested ones."""
    return OPERATIONS | nested_operations() if fields == 3 else OPERATIONS
