"""Forward-only probes: the exact gradient of every gate from the active subnet alone.

A gate is the factor of an operation's output: node output = sum over c of gate_c * op_c(x). So
dL/dgate_c = <delta, op_c(x)>, where delta = dL/d(node output). If the gates are exactly 0 or 1, x
and delta come from the active operations alone, since nothing flows through a factor of 0. `probe`
leaves a node's value as it is; inside the backward pass, which brings delta, it runs each candidate
once without a graph for the inner product. Peak memory is that of one path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from sif.core.gates import Block, Gates, Selection
from sif.core.space import Batch, Space

Candidate = Callable[[], Tensor]
"""Computes one operation's output."""
Factors = Sequence[float]
"""A factor of each candidate's derivative; 0: the candidate does not run (`Probing.factors`)."""


class _Probe(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, value: Tensor, weights: Tensor, candidates: Sequence[Candidate], factors: Factors
    ) -> Any:
        ctx.candidates, ctx.factors = candidates, factors
        ctx.gates_like = weights  # shape, dtype and device of their gradient
        kind = value.device.type
        ctx.autocast = kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (delta,) = grads
        if not ctx.needs_input_grad[1]:
            return delta, None, None, None
        not_run = delta.new_zeros(())
        kind, dtype, enabled = ctx.autocast  # a backward pass does not inherit it
        with torch.no_grad(), torch.autocast(kind, dtype, enabled):
            products = [
                factor * _derivative(delta, candidate()) if factor else not_run
                for candidate, factor in zip(ctx.candidates, ctx.factors, strict=True)
            ]
        ctx.candidates = None  # frees the tensors that they hold; the graph may live on
        gradient = torch.stack(products).to(ctx.gates_like).reshape(ctx.gates_like.shape)
        return delta, gradient, None, None


def _derivative(delta: Tensor, output: Tensor) -> Tensor:
    """<delta, output>, scaled up to the batch if the output is that of its first rows only."""
    if output.shape == delta.shape:
        return _inner(delta, output)
    rows = len(output)
    return _inner(delta[:rows], output) * (len(delta) / rows)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Sum of products, without temporary products if both have the same contiguous layout."""
    if a.dtype.itemsize < 4 or b.dtype.itemsize < 4:  # too coarse to sum in
        return (a.float() * b.float()).sum()
    if a.stride() == b.stride() and a.dtype == b.dtype and _dense(a) and _dense(b):
        size, step = (a.numel(),), (1,)
        return torch.dot(a.as_strided(size, step), b.as_strided(size, step))
    return (a * b).sum()


def _dense(x: Tensor) -> bool:
    return x.is_contiguous() or (
        x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    )


def probe(
    value: Tensor, weights: Tensor, candidates: Sequence[Candidate], factors: Factors | None = None
) -> Tensor:
    """Passes a node's value through; its backward gives the gates of all candidates their gradient.

    Args:
        value: Output of the node, the sum of its active operations, any shape.
        weights: Gate values of every candidate entering the node, (n_candidates,) or (edges, ops),
            row-major in the order of `candidates`.
        candidates: For each gate, a function that computes the operation's output, of the shape of
            `value` or of its first rows. Called without a graph, once, during the backward pass.
        factors: None: all 1.

    Returns:
        `value`, unchanged.
    """
    if not (torch.is_grad_enabled() and weights.requires_grad):
        return value
    factors = [1.0] * len(candidates) if factors is None else factors
    return cast(Tensor, _Probe.apply(value, weights, candidates, factors))


def gated_output(
    weights: Tensor, active: int | None, candidates: Sequence[Candidate],
    factors: Factors | None = None,
) -> Tensor:  # fmt: skip
    """Output of one edge under its gates.

    Args:
        weights: (n_ops,) gate values.
        active: Index of the operation whose gate is 1: it alone enters the graph, and all are
            probed in the backward pass. None for relaxed gates: all enter the graph.
        candidates: The operations, as in `probe`.
        factors: As in `probe`. For relaxed gates: 0 leaves an operation out, and one is not 0.

    Returns:
        The output of the active operation; for relaxed gates the sum of all, times their gates.
    """
    if active is None:
        first, *rest = [k for k in range(len(candidates)) if factors is None or factors[k]]
        total = weights[first] * candidates[first]()
        for k in rest:
            total = total + weights[k] * candidates[k]()  # stacked, all would be in memory at once
        return total
    return probe(candidates[active](), weights, candidates, factors)


@dataclass(frozen=True)
class GateGradient:
    """Loss of a batch at some gates, and its derivatives.

    Attributes:
        loss: Scalar tensor, detached.
        gates: Block name to (n_edges, n_ops) on the CPU: the derivative by every gate, exact
            unless `Gates.probing` asks for an estimate.
        arch: Derivative by each of the space's continuous architecture parameters.
        weights: Derivative by each of the weights that were asked for.
    """

    loss: Tensor
    gates: dict[str, Tensor]
    arch: tuple[Tensor, ...]
    weights: tuple[Tensor, ...] = ()


def gate_gradient(
    space: Space, batch: Batch, gates: Gates, weights: Sequence[Tensor] = ()
) -> GateGradient:
    """The loss of a batch and its gradient by every gate and continuous architecture parameter.

    The gradient by `weights` is taken, too. No parameter's `grad` is written, and gradients by
    other weights are not computed where autograd can avoid it.
    """
    like, arch = space.reference_tensor(), list(space.arch_parameters())
    leaves = {
        name: w.detach().to(like, non_blocking=True, copy=True).requires_grad_()
        for name, w in gates.weights.items()
    }
    loss = space.loss(batch, replace(gates, weights=leaves))
    inputs = [*leaves.values(), *arch, *weights]
    grads = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)
    by_block = {name: g.cpu() for name, g in zip(leaves, grads, strict=False)}
    first, second = len(leaves), len(leaves) + len(arch)
    return GateGradient(loss.detach(), by_block, grads[first:second], grads[second:])


def replacement_scores(
    blocks: Sequence[Block],
    gates: Gates,
    loss_at: Callable[[Selection], float | None],
    alpha: Mapping[str, Tensor] | None = None,
) -> Mapping[str, Tensor]:
    """Block name to (n_edges, n_ops): log(loss with the candidate in place / loss as it is).

    Args:
        blocks: Of the space.
        gates: A discrete point.
        loss_at: Loss of a selection, above 0; None where nothing is known of it, which scores 0.
        alpha: The continuous alphas: a candidate whose alpha is 0 is not judged and scores 0.
    """
    scores = {block.name: torch.zeros(block.shape, dtype=torch.float64) for block in blocks}
    selection = gates.choices()
    current = loss_at(selection)
    if current is None:
        return scores
    for name, table in scores.items():
        judged = torch.ones_like(table) if alpha is None else alpha[name]
        for edge, k in (judged > 0).nonzero().tolist():
            other = selection.switched(name, edge, k)
            loss = None if k == selection[name][edge] else loss_at(other)
            if loss is not None:
                table[edge, k] = math.log(loss) - math.log(current)
    return scores
