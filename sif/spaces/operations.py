"""Vector-wise operations O of an interaction function, for any number of fields.

`combine` maps k tensors (..., d) to one (..., width). `factors`, where an operation has it, writes
the interaction of two fields as a plain product: w^T O(p_u, q_v) = A_u . B_v for all pairs at once,
which makes whole-catalogue losses and scores one matrix product.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Factors = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Operation:
    """One way to combine the fields' vectors.

    Attributes:
        name: As written in genotypes.
        combine: k tensors (..., d) to (..., width).
        width: Entries of the output per embedding dimension, given k fields.
        factors: p (n, d), q (m, d), w (width) to A (n, r), B (m, r) with A @ B.T the interaction
            of every pair; None where no such form exists.
    """

    name: str
    combine: Callable[[Sequence[Tensor]], Tensor]
    width: Callable[[int], int] = lambda fields: 1
    factors: Callable[[Tensor, Tensor, Tensor], Factors] | None = None


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Sequence[Tensor]], Tensor]:
    return lambda fields: functools.reduce(function, fields)


def separable(a: Tensor, b: Tensor) -> Factors:
    """a_u + b_v as the product (a_u, 1) . (1, b_v), from (n,) and (m,)."""
    left = torch.stack([a, torch.ones_like(a)], dim=1)
    return left, torch.stack([torch.ones_like(b), b], dim=1)


def _product_factors(p: Tensor, q: Tensor, w: Tensor) -> Factors:
    return p * w, q


def _sum_factors(p: Tensor, q: Tensor, w: Tensor) -> Factors:
    return separable(p @ w, q @ w)


def _concat_factors(p: Tensor, q: Tensor, w: Tensor) -> Factors:
    d = p.shape[1]
    return separable(p @ w[:d], q @ w[d:])


OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation("multiply", _fold(torch.mul), factors=_product_factors),
        Operation("plus", _fold(torch.add), factors=_sum_factors),
        Operation("min", _fold(torch.minimum)),
        Operation("max", _fold(torch.maximum)),
        Operation(
            "concat",
            lambda fields: torch.cat(torch.broadcast_tensors(*fields), dim=-1),
            width=lambda fields: fields,
            factors=_concat_factors,
        ),
    )
}
"""The five operations of SIF (WWW 2020, Table 2), in the published order of the code."""
