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
from sif.spaces.rnn.gated_cells import ACTIVATIONS, CLIP, GatedCell


def _gelu_slope(x: Tensor, value: Tensor) -> Tensor:
    density = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return cast(Tensor, torch.special.ndtr(x) + x * density)


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
            fresh = window.fresh[step]
            new.copy_(fresh * gate["input"] if "input" in gate else fresh)
            new.add_(_kept(cell, gate, memory)).clamp_(-CLIP, CLIP)
            active.copy_(ACTIVATIONS[cell.activation](new))
            hidden = outputs[step]
            hidden.copy_(active * gate["output"] if "output" in gate else active)
            memory = new
        ctx.cell, ctx.mask = cell, mask
        ctx.save_for_backward(given, matrix, inner, *vars(window).values())
        return outputs, torch.stack([hidden, memory])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_outputs: Tensor, by_state: Tensor) -> tuple[Tensor | None, ...]:
        given, matrix, inner, *kept = ctx.saved_tensors
        back = _Backwards(ctx.cell, ctx.mask, given, matrix, _Window(*kept))
        by_start = back.through_time(by_outputs, by_state)
        by_inner = None if inner is None else back.by_product[..., back.own :].sum((0, 1))
        return None, None, back.by_inputs(), by_start, back.by_matrix(), by_inner


def _kept(cell: GatedCell, gate: Mapping[str, Tensor], memory: Tensor) -> Tensor | float:
    """The part of the memory that the forget gate leaves."""
    if "forget" in gate:
        return gate["forget"] * memory
    return (1 - gate["input"]) * memory if "input" in gate else 0.0


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


class _Backwards:
    """The backward pass of a window.

    Attributes:
        own: Columns of the gates among all products.
        by_product: (steps, batch, products x hidden): derivatives by the state's shares.
    """

    def __init__(
        self, cell: GatedCell, mask: Tensor | None, given: Tensor, matrix: Tensor, window: _Window
    ) -> None:
        self.cell, self.mask, self.given, self.matrix, self.window = (
            cell, mask, given, matrix, window,
        )  # fmt: skip
        self.own = len(cell.gates) * window.news.shape[-1]
        self.by_product = torch.empty_like(given)
        self._by_inside = torch.empty_like(window.inside)
        self._by_gates = torch.empty_like(window.gates[0])
        self._by_gate = dict(zip(cell.gates, self._by_gates.unbind(1), strict=True))
        self._sigmoid_slopes = window.gates * (1 - window.gates)
        self._candidate_slopes = SLOPES[cell.candidate](window.inside, window.fresh)
        self._memory_slopes = SLOPES[cell.activation](window.news, window.actives)
        inside = window.news.abs() < CLIP
        self._unclipped = None if bool(inside.all()) else inside

    def through_time(self, by_outputs: Tensor, by_state: Tensor) -> Tensor:
        """Fills in the derivatives of all steps; returns that by the state before the window."""
        by_hidden, by_memory = by_state
        gates = self.window.gates
        for step in reversed(range(len(by_outputs))):
            gate = dict(zip(self.cell.gates, gates[step].unbind(1), strict=True))
            by_new = self._by_new(step, gate, by_outputs[step] + by_hidden, by_memory)
            by_memory = self._by_memory(step, gate, by_new)
            by_hidden = masked(self._by_hidden(step, gate, by_new), self.mask)
        return torch.stack([by_hidden, by_memory])

    def _by_new(
        self, step: int, gate: Mapping[str, Tensor], total: Tensor, by_memory: Tensor
    ) -> Tensor:
        """By the new memory, of the derivatives by the output and by the next step's memory."""
        by_new = total * self._memory_slopes[step]
        if "output" in gate:
            torch.mul(total, self.window.actives[step], out=self._by_gate["output"])
            by_new = by_new * gate["output"]
        by_new = by_new + by_memory
        return by_new if self._unclipped is None else by_new * self._unclipped[step]

    def _by_memory(self, step: int, gate: Mapping[str, Tensor], by_new: Tensor) -> Tensor:
        """By the old memory, and by the gates of memory and candidate."""
        memory = self.window.memories[step]
        if "input" in gate:
            fresh = self.window.fresh[step]
            difference = fresh if "forget" in gate else fresh - memory
            torch.mul(by_new, difference, out=self._by_gate["input"])
        if "forget" in gate:
            torch.mul(by_new, memory, out=self._by_gate["forget"])
            return by_new * gate["forget"]
        return by_new * (1 - gate["input"]) if "input" in gate else torch.zeros_like(by_new)

    def _by_hidden(self, step: int, gate: Mapping[str, Tensor], by_new: Tensor) -> Tensor:
        """By the output before the step, after dropout, and by all products."""
        own, matrix, window = self.own, self.matrix, self.window
        by_inside = torch.mul(by_new, self._candidate_slopes[step], out=self._by_inside[step])
        if "input" in gate:
            by_inside.mul_(gate["input"])
        by_share, beside = by_inside, None
        if self.cell.reset == "before":
            by_reset = by_inside @ matrix[:, own:].t()
            torch.mul(by_reset, window.hiddens[step], out=self._by_gate["reset"])
            beside = by_reset * gate["reset"]
        elif self.cell.reset == "after":
            torch.mul(by_inside, window.shares[step], out=self._by_gate["reset"])
            by_share = by_inside * gate["reset"]
        elif self.cell.reset == "product":
            by_share = by_inside * (1 + self.given[step, :, own:])
        now = self.by_product[step]
        torch.mul(self._by_gates.flatten(1), self._sigmoid_slopes[step].flatten(1),
                  out=now[:, :own])  # fmt: skip
        now[:, own:] = by_share
        if beside is not None:
            return torch.addmm(beside, now[:, :own], matrix[:, :own].t())
        return now @ matrix.t()

    def by_inputs(self) -> Tensor:
        """By the inputs' shares."""
        by_inside = self._by_inside
        if self.cell.reset == "product":
            by_inside = by_inside * (1 + self.window.shares)
        return torch.cat([self.by_product[..., : self.own], by_inside], dim=-1)

    def by_matrix(self) -> Tensor:
        """By the matrix of the state."""
        hiddens, products = self.window.hiddens, self.by_product.flatten(0, 1)
        if self.cell.reset != "before":
            return hiddens.flatten(0, 1).t() @ products
        reset = hiddens * self.window.gates[:, :, -1]
        parts = (hiddens, products[:, : self.own]), (reset, products[:, self.own :])
        return torch.cat([rows.flatten(0, 1).t() @ part for rows, part in parts], dim=1)
