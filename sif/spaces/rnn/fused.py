"""A recurrent cell over a window, with a backward pass of its own.

The same numbers as `unroll` of `sif.spaces.rnn.networks.CellLoop`, which is the reference. Autograd
would record every operation of every step, and add up the gradient of each matrix step by step;
here the loop backwards holds only what depends on the step behind it. Derivatives of gates and
activations are taken for all steps at once before it, gradients of matrices in one product each
after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sif.spaces.rnn.cells import ACTIVATIONS, RecurrentCell, readers
from sif.spaces.rnn.dropout import masked

SLOPES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda value: 1 - value * value,
    "relu": lambda value: (value > 0).to(value),
    "sigmoid": lambda value: value * (1 - value),
    "identity": torch.ones_like,
}
"""Derivatives of `ACTIVATIONS`, as functions of their outputs."""


def fused(
    from_input: Tensor,
    hidden: Tensor,
    from_hidden: Tensor,
    matrices: Sequence[Tensor],
    cell: RecurrentCell,
    mask: Tensor | None = None,
) -> Tensor:
    """Outputs of a cell over a window.

    Args:
        from_input: (steps, batch, 2 hidden): the inputs' share of the fixed node's product.
        hidden: (batch, hidden) output before the window.
        from_hidden: (hidden, 2 hidden) matrix of the fixed node.
        matrices: Per learned node (hidden, 2 hidden).
        cell: The activation of each node and the state that it reads.
        mask: (batch, hidden) for every state that is read; gets no gradient.

    Returns:
        (steps, batch, hidden), differentiable once.
    """
    groups = [torch.cat([matrices[i] for i in nodes], 1) for nodes in readers(cell).values()]
    result = _Fused.apply(cell, mask, from_input, hidden, from_hidden, *groups)
    return cast(Tensor, result)


@dataclass(frozen=True, eq=False)
class _Window:
    """Numbers of the forward pass that the backward pass needs.

    Attributes:
        befores: (steps, batch, hidden): the output before each step.
        states: (states, steps, batch, hidden).
        gates: Those of the highway into each state, likewise.
        fresh: Output of the activation into each state.
    """

    befores: Tensor
    states: Tensor
    gates: Tensor
    fresh: Tensor

    def enter(self, state: int, step: int, read: Tensor, product: Tensor, activation: str) -> None:
        """A highway from the state that is read into another state."""
        carry, fresh = product.to(read.dtype).chunk(2, dim=1)
        gate, value = self.gates[state, step], self.fresh[state, step]
        torch.sigmoid(carry, out=gate)
        value.copy_(ACTIVATIONS[activation](fresh))
        torch.lerp(read, value, gate, out=self.states[state, step])

    def slopes(self, state: int, read: Tensor, activation: str) -> Tensor:
        """Derivatives of a state by its product: (steps, batch, 2, hidden)."""
        gate, value = self.gates[state], self.fresh[state]
        by_carry = (value - read) * (gate * (1 - gate))
        return torch.stack([by_carry, gate * SLOPES[activation](value)], dim=2)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cell: RecurrentCell, mask: Tensor | None, from_input: Tensor, hidden: Tensor,
        from_hidden: Tensor, *groups: Tensor,
    ) -> Tensor:  # fmt: skip
        steps, batch, _ = from_input.shape
        sizes = (steps, batch, hidden.shape[1])
        outputs, befores = hidden.new_empty(sizes), hidden.new_empty(sizes)
        many = [hidden.new_empty((len(cell.nodes) + 1, *sizes)) for _ in range(3)]
        window = _Window(befores, *many)
        reading = list(zip(readers(cell).items(), groups, strict=True))
        for step in range(steps):
            befores[step] = hidden
            product = torch.addmm(from_input[step], masked(hidden, mask), from_hidden)
            window.enter(0, step, hidden, product, "tanh")
            for (source, nodes), matrix in reading:
                read = window.states[source, step]
                products = (masked(read, mask) @ matrix).chunk(len(nodes), dim=1)
                for node, product in zip(nodes, products, strict=True):
                    window.enter(node + 1, step, read, product, cell.nodes[node][0])
            hidden = outputs[step]
            # Indexed by a list, each step would wait for a copy of it to the device.
            torch.mean(torch.stack([window.states[s, step] for s in cell.output]), 0, out=hidden)
        ctx.cell, ctx.mask = cell, mask
        ctx.save_for_backward(from_hidden, *groups, *vars(window).values())
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_outputs: Tensor) -> tuple[Tensor | None, ...]:
        from_hidden, *groups, befores, states, gates, fresh = ctx.saved_tensors
        window = _Window(befores, states, gates, fresh)
        cell, mask = ctx.cell, ctx.mask
        reading = list(zip(readers(cell).items(), groups, strict=True))[::-1]
        slopes = [window.slopes(0, befores, "tanh")]
        slopes += [
            window.slopes(i + 1, states[source], name)
            for i, (name, source) in enumerate(cell.nodes)
        ]
        passed = 1 - gates
        steps, batch, width = befores.shape
        by_products = {
            source: befores.new_empty(steps, batch, len(nodes), 2, width)
            for (source, nodes), _ in reading
        }
        by_given = befores.new_empty(steps, batch, 2, width)
        by_hidden = torch.zeros_like(befores[0])
        output = befores.new_zeros(len(states))
        for state in cell.output:
            output[state].fill_(1 / len(cell.output))
        for step in reversed(range(steps)):
            by_states = output[:, None, None] * (by_outputs[step] + by_hidden)
            for (source, nodes), matrix in reading:
                by_product = by_products[source][step]
                total = by_states[source]
                for place, node in enumerate(nodes):
                    by_state = by_states[node + 1]
                    torch.mul(slopes[node + 1][step], by_state[:, None], out=by_product[:, place])
                    total.addcmul_(by_state, passed[node + 1, step])
                total.add_(masked(by_product.flatten(1) @ matrix.t(), mask))
            torch.mul(slopes[0][step], by_states[0][:, None], out=by_given[step])
            by_hidden = masked(by_given[step].flatten(1) @ from_hidden.t(), mask)
            by_hidden.addcmul_(by_states[0], passed[0, step])

        def by_matrix(read: Tensor, by_product: Tensor) -> Tensor:
            return masked(read, mask).flatten(0, 1).t() @ by_product.flatten(0, 1).flatten(1)

        by_groups = [by_matrix(states[s], by_products[s]) for s in readers(cell)]
        by_from_hidden = by_matrix(befores, by_given)
        return None, None, by_given.flatten(2), by_hidden, by_from_hidden, *by_groups
