"""A gated cell over a window, with a backward pass of its own.

The same numbers as `unroll` of `sif.spaces.rnn.gated_networks`, which is the reference. As in
`sif.spaces.rnn.fused`, derivatives of gates and activations are taken for all steps at once, and so
are the gradients of matrices; the loop backwards holds only what depends on the step behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sif.spaces.rnn.dropout import masked
from sif.spaces.rnn.gated_cells import ACTIVATIONS, GatedCell


def _gelu_slope(x: Tensor, value: Tensor) -> Tensor:
    density = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return torch.special.ndtr(x) + x * density


SLOPES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "tanh": lambda x, value: 1 - value * value,
    "relu": lambda x, value: (x > 0).to(x),
    "gelu": _gelu_slope,
    "identity": lambda x, value: torch.ones_like(x),
}
"""Derivatives of `ACTIVATIONS`, as functions of their inputs and outputs."""


def fused(
    given: Tensor, state: Tensor, matrix: Tensor, inner: Tensor | None, cell: GatedCell,
    mask: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Outputs of a cell over a window.

    Args:
        given: (steps, batch, products x hidden): the inputs' shares, in the cell's order.
        state: (2, batch, hidden): output and memory before the window.
        matrix: (hidden, products x hidden): of the state, likewise.
        inner: (hidden) bias of the state's share in the candidate, for cells that have one.
        cell: The form of its gates and its activations.
        mask: (batch, hidden) for the output, wherever it is read as a state; gets no gradient.

    Returns:
        (steps, batch, hidden) and the state behind the window, differentiable once.
    """
    found = _Fused.apply(cell, mask, given, state, matrix, inner)
    return cast("tuple[Tensor, Tensor]", found)


@dataclass(frozen=True, eq=False)
class _Window:
    """Numbers of the forward pass that the backward pass needs, all (steps, batch, hidden).

    Attributes:
        hiddens: The output before each step, after dropout.
        memories: The memory before each step.
        gates: (steps, batch, gates, hidden), in the order of `GatedCell.gates`.
        shares: The state's share in the candidate, before anything multiplies it.
        inside: Input of the candidate's activation.
        fresh: Its output.
        news: The new memory.
        actives: Its activation.
    """

    hiddens: Tensor
    memories: Tensor
    gates: Tensor
    shares: Tensor
    inside: Tensor
    fresh: Tensor
    news: Tensor
    actives: Tensor


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cell: GatedCell, mask: Tensor | None, given: Tensor, state: Tensor,
        matrix: Tensor, inner: Tensor | None,
    ) -> Any:  # fmt: skip
        steps, batch, _ = given.shape
        width, names = state.shape[-1], cell.gates
        sizes = (steps, batch, width)
        many = [state.new_empty(sizes) for _ in range(7)]
        gates = state.new_empty(steps, batch, len(names), width)
        window = _Window(many[0], many[1], gates, *many[2:])
        outputs = state.new_empty(sizes)
        hidden, memory = state
        for step in range(steps):
            read = masked(hidden, mask)
            window.hiddens[step], window.memories[step] = read, memory
            _enter(window, step, cell, given[step], matrix, inner)
            gate = dict(zip(names, gates[step].unbind(1), strict=True))
            new, active = window.news[step], window.actives[step]
            torch.mul(window.fresh[step], gate["input"], out=new) if "input" in gate else (
                new.copy_(window.fresh[step])
            )
            new.add_(_kept(cell, gate, memory))
            active.copy_(ACTIVATIONS[cell.activation](new))
            hidden = outputs[step]
            hidden.copy_(active * gate["output"] if "output" in gate else active)
            memory = new if cell.state == "memory" else hidden
        ctx.cell, ctx.mask = cell, mask
        ctx.save_for_backward(given, matrix, inner, *vars(window).values())
        return outputs, torch.stack([hidden, memory])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_outputs: Tensor, by_state: Tensor) -> tuple[Tensor | None, ...]:
        given, matrix, inner, *kept = ctx.saved_tensors
        return _backward(ctx.cell, ctx.mask, given, matrix, inner, _Window(*kept),
                         by_outputs, by_state)  # fmt: skip


def _kept(cell: GatedCell, gate: Mapping[str, Tensor], memory: Tensor) -> Tensor | float:
    """What the forget gate leaves of the memory."""
    if cell.forget == "coupled":
        return (1 - gate["input"]) * memory if "input" in gate else 0.0
    return gate["forget"] * memory if "forget" in gate else memory


def _enter(
    window: _Window, step: int, cell: GatedCell, given: Tensor, matrix: Tensor,
    inner: Tensor | None,
) -> None:  # fmt: skip
    """Computes the gates and the candidate of a step."""
    read, width = window.hiddens[step], window.hiddens.shape[-1]
    gates, share = window.gates[step].flatten(1), window.shares[step]
    own = gates.shape[1]
    if cell.reset == "before":
        product = (read @ matrix[:, :own]).to(read.dtype)
        torch.sigmoid(given[:, :own] + product, out=gates)
        reset = gates[:, own - width :]
        share.copy_((reset * read) @ matrix[:, own:])
        factored = share
    else:
        product = (read @ matrix).to(read.dtype)
        torch.sigmoid(given[:, :own] + product[:, :own], out=gates)
        share.copy_(product[:, own:] if inner is None else product[:, own:] + inner)
        factored = share
        if cell.reset == "after":
            factored = share * gates[:, own - width :]
        elif cell.reset == "product":
            factored = share * (1 + given[:, own:])
    torch.add(given[:, own:], factored, out=window.inside[step])
    window.fresh[step] = ACTIVATIONS[cell.candidate](window.inside[step])


def _backward(
    cell: GatedCell, mask: Tensor | None, given: Tensor, matrix: Tensor, inner: Tensor | None,
    window: _Window, by_outputs: Tensor, by_state: Tensor,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    steps, batch, width = window.news.shape
    names, own = cell.gates, len(cell.gates) * width
    sigmoid_slopes = window.gates * (1 - window.gates)
    candidate_slopes = SLOPES[cell.candidate](window.inside, window.fresh)
    memory_slopes = SLOPES[cell.activation](window.news, window.actives)
    by_given, by_product = torch.zeros_like(given), given.new_empty(given.shape)
    by_gates = given.new_empty(batch, len(names), width)
    by_gate = dict(zip(names, by_gates.unbind(1), strict=True))
    joint = matrix if cell.reset != "before" else matrix[:, :own]
    by_hidden, by_memory = by_state
    for step in reversed(range(steps)):
        gate = dict(zip(names, window.gates[step].unbind(1), strict=True))
        total = by_outputs[step] + by_hidden
        if cell.state == "output":
            total = total + by_memory
        active, by_new = total * memory_slopes[step], by_memory
        if "output" in gate:
            torch.mul(total, window.actives[step], out=by_gate["output"])
            active = active * gate["output"]
        by_new = active + by_memory if cell.state == "memory" else active
        by_memory = _through_memory(cell, gate, by_gate, by_new, window, step)
        by_inside = by_new * candidate_slopes[step]
        if "input" in gate:
            by_inside = by_inside * gate["input"]
        by_share, read = by_inside, window.hiddens[step]
        by_read = None
        if cell.reset == "before":
            by_reset = by_inside @ matrix[:, own:].t()
            torch.mul(by_reset, read, out=by_gate["reset"])
            by_read = by_reset * gate["reset"]
        elif cell.reset == "after":
            torch.mul(by_inside, window.shares[step], out=by_gate["reset"])
            by_share = by_inside * gate["reset"]
        elif cell.reset == "product":
            by_share = by_inside * (1 + given[step, :, own:])
        now = by_product[step]
        torch.mul(by_gates.flatten(1), sigmoid_slopes[step].flatten(1), out=now[:, :own])
        now[:, own:] = by_share
        by_given[step, :, own:] = by_inside
        by_hidden = now[:, : joint.shape[1]] @ joint.t()
        if by_read is not None:
            by_hidden = by_hidden + by_read
        by_hidden = masked(by_hidden, mask)
    by_given[..., :own] = by_product[..., :own]
    if cell.reset == "product":
        by_given[..., own:] *= 1 + window.shares
    rows = window.hiddens.flatten(0, 1)
    products = by_product.flatten(0, 1)
    by_matrix = rows.t() @ products
    if cell.reset == "before":
        reset_rows = (window.hiddens * window.gates[:, :, -1]).flatten(0, 1)
        by_matrix[:, own:] = reset_rows.t() @ products[:, own:]
    by_inner = None if inner is None else products[:, own:].sum(0)
    by_start = torch.stack([by_hidden, by_memory])
    return None, None, by_given, by_start, by_matrix, by_inner


def _through_memory(
    cell: GatedCell, gate: Mapping[str, Tensor], by_gate: Mapping[str, Tensor], by_new: Tensor,
    window: _Window, step: int,
) -> Tensor:  # fmt: skip
    """Writes the derivatives by the gates of memory and candidate; returns that by the memory."""
    memory = window.memories[step]
    if "input" in gate:
        difference = window.fresh[step]
        if cell.forget == "coupled":
            difference = difference - memory
        torch.mul(by_new, difference, out=by_gate["input"])
    if "forget" in gate:
        torch.mul(by_new, memory, out=by_gate["forget"])
        return by_new * gate["forget"]
    if cell.forget == "coupled":
        return by_new * (1 - gate["input"]) if "input" in gate else torch.zeros_like(by_new)
    return by_new
