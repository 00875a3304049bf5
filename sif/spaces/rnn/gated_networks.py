"""Gated cells over windows: the weights, every alternative of a step, and the loop over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from sif.spaces.rnn.dropout import Masks, TextShape, masked
from sif.spaces.rnn.gated_cells import ACTIVATIONS, CANDIDATE, CLIP, GatedCell
from sif.spaces.rnn.gated_fused import fused

FORGET_BIAS = 1.0
"""First bias of the forget gate, so that a memory lasts (Jozefowicz et al., ICML 2015)."""

Alternatives = Mapping[str, Callable[[], Tensor]]
"""Alternative to its computation."""
Choose = Callable[[str, Alternatives], Tensor]
"""Makes the value of a choice of its alternatives."""


class GatedWeights(nn.Module):
    """A matrix and a bias for each product of input and hidden state.

    The first weights are drawn as in torch's LSTM and GRU, uniform within 1 / sqrt(width); only the
    bias of the forget gate starts at `FORGET_BIAS`.

    Attributes:
        matrices: Name of a product to (2 hidden, hidden): rows of the input, then of the state.
        biases: Name of a product to (hidden).
        inner: (hidden) bias of the state's share in the candidate; None: the cell has none.
    """

    def __init__(self, shape: TextShape, products: Sequence[str], inner_bias: bool) -> None:
        super().__init__()
        n, bound = shape.hidden, shape.hidden**-0.5

        def fresh(*sizes: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(sizes).uniform_(-bound, bound))

        self.matrices = nn.ParameterDict({name: fresh(2 * n, n) for name in products})
        self.biases = nn.ParameterDict({name: fresh(n) for name in products})
        self.inner = fresh(n) if inner_bias else None
        if "forget" in self.biases:
            nn.init.constant_(self.biases["forget"], FORGET_BIAS)

    def given(self, x: Tensor, products: Sequence[str]) -> tuple[Tensor, ...]:
        """The shares of inputs (steps, batch, hidden) in each of the products, biases included."""
        n = x.shape[-1]
        matrix = torch.cat([self.matrices[name][:n] for name in products], dim=1)
        bias = torch.cat([self.biases[name] for name in products])
        shares = (x @ matrix).to(x.dtype) + bias
        return tuple(torch.split(shares, n, dim=-1))

    def from_hidden(self, products: Sequence[str]) -> Tensor:
        """(hidden, products x hidden): the matrices of the state side by side."""
        parts = [self.matrices[name] for name in products]
        return torch.cat([matrix[matrix.shape[1] :] for matrix in parts], dim=1)


class Step:
    """The alternatives of a step, or of all steps of a window at once.

    Args:
        weights: Of the products that are computed.
        given: Name of a product to the input's share, (..., hidden).
        hidden: (..., hidden) output of the step before, after dropout.
        memory: (..., hidden) memory of the step before.
    """

    def __init__(
        self, weights: GatedWeights, given: Mapping[str, Tensor], hidden: Tensor, memory: Tensor
    ) -> None:
        self.weights, self.given, self.hidden, self.memory = weights, given, hidden, memory

    def run(self, choose: Choose) -> tuple[Tensor, Tensor]:
        """Output and memory of the step, every choice made by `choose` in turn."""
        taken = choose("input", self.input())
        forget = choose("forget", self.forget(taken))
        share = choose("reset", self.reset())
        fresh = choose("candidate", self.candidate(share))
        memory = (forget * self.memory + taken * fresh).clamp(-CLIP, CLIP)
        active = choose("activation", activations(memory))
        return choose("output", self.output()) * active, memory

    def input(self) -> Alternatives:
        """Gates of the candidate."""
        return {"sigmoid": partial(self._gate, "input"), "one": self._one}

    def forget(self, taken: Tensor) -> Alternatives:
        """Gates of the memory, given that of the candidate."""
        gate = partial(self._gate, "forget")
        return {"sigmoid": gate, "coupled": lambda: 1 - taken}

    def output(self) -> Alternatives:
        """Gates of the output."""
        return {"sigmoid": partial(self._gate, "output"), "one": self._one}

    def reset(self) -> Alternatives:
        """Shares of the hidden state in the candidate."""

        def inner() -> Tensor:
            return self._product(CANDIDATE, self.hidden) + cast(Tensor, self.weights.inner)

        return {
            "none": lambda: self._product(CANDIDATE, self.hidden),
            "before": lambda: self._product(CANDIDATE, self._gate("reset") * self.hidden),
            "after": lambda: self._gate("reset") * inner(),
            "product": lambda: (1 + self.given[CANDIDATE]) * inner(),
        }

    def candidate(self, share: Tensor) -> Alternatives:
        """Candidates, given the share of the hidden state."""
        return activations(self.given[CANDIDATE] + share)

    def _product(self, name: str, state: Tensor) -> Tensor:
        matrix = self.weights.matrices[name]
        product: Tensor = state @ matrix[matrix.shape[1] :]
        return product.to(state.dtype)

    def _gate(self, name: str) -> Tensor:
        return torch.sigmoid(self.given[name] + self._product(name, self.hidden))

    def _one(self) -> Tensor:
        return torch.ones_like(self.memory)


def activations(x: Tensor) -> Alternatives:
    """Every activation of some values."""
    return {name: partial(function, x) for name, function in ACTIVATIONS.items()}


def unroll(
    weights: GatedWeights, x: Tensor, state: Tensor, mask: Tensor | None,
    chooses: Callable[[int, Step], Choose], products: Sequence[str],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A window step by step.

    Args:
        weights: Of the products.
        x: (steps, batch, hidden) inputs.
        state: (2, batch, hidden): output and memory before the window.
        mask: (batch, hidden) for the output, wherever it is read as a state.
        chooses: Gives the choices of a step, by its number.
        products: Names of those that are computed.

    Returns:
        (steps, batch, hidden) outputs, and the state behind the window.
    """
    shares = [share.unbind(0) for share in weights.given(x, products)]
    (hidden, memory), outputs = state, []
    for number in range(len(x)):
        given = {name: share[number] for name, share in zip(products, shares, strict=True)}
        step = Step(weights, given, masked(hidden, mask), memory)
        hidden, memory = step.run(chooses(number, step))
        outputs.append(hidden)
    return torch.stack(outputs), torch.stack([hidden, memory])


def chosen_alone(cell: GatedCell) -> Choose:
    """Choices of exactly a cell."""
    return lambda block, alternatives: alternatives[getattr(cell, block)]()


def run_cell(
    weights: GatedWeights, cell: GatedCell, x: Tensor, state: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Does what `unroll` does for a cell, by `fused` where that can give the gradient."""
    if not torch.is_grad_enabled():
        alone = chosen_alone(cell)
        return unroll(weights, x, state, mask, lambda number, step: alone, cell.products)
    given = torch.cat(weights.given(x, cell.products), dim=-1)
    inner = weights.inner if cell.inner_bias else None
    return fused(given, state, weights.from_hidden(cell.products), inner, cell, mask)


class GatedRecurrence(nn.Module):
    """A given gated cell."""

    def __init__(self, shape: TextShape, cell: GatedCell) -> None:
        super().__init__()
        self.cell = cell
        self.weights = GatedWeights(shape, cell.products, cell.inner_bias)

    def forward(self, x: Tensor, state: Tensor | None, masks: Masks) -> tuple[Tensor, Tensor]:
        """Outputs (steps, batch, hidden) and the state (2, batch, hidden); no state: zeros."""
        start = x.new_zeros(2, *x.shape[1:]) if state is None else state
        return run_cell(self.weights, self.cell, masked(x, masks.input), start, masks.hidden)
