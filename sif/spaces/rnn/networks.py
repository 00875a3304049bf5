"""Language models of recurrent cells: tied embeddings, variational dropout, the loop over time.

A learned node is a highway: s + sigmoid(c) * (f(h) - s) of the state s that it reads, where (c, h)
is s times the node's one matrix (DARTS; Liu et al., ICLR 2019, appendix A.1.2; the released code).
Every candidate of a node shares that matrix, so supernet and networks of given cells have the same
weights and run the same `CellLoop`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sif.spaces.rnn.cells import ACTIVATIONS, RecurrentCell, readers
from sif.spaces.rnn.dropout import Masks, TextShape, masked
from sif.spaces.rnn.fused import fused

EMBEDDING_INIT = 0.1
CELL_INIT = 0.04
"""Half widths of the uniform first weights (INITRANGE and init_weights of quark0/darts, rnn)."""


def highway(state: Tensor, product: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """The state s (..., hidden) with its highway: s + sigmoid(c) * (f(h) - s).

    The product (..., 2 hidden) holds c and h side by side, maybe in a lower precision than the
    state; f is the activation.
    """
    carry, fresh = product.to(state.dtype).chunk(2, dim=-1)
    return torch.lerp(state, activation(fresh), torch.sigmoid(carry))


class CellWeights(nn.Module):
    """One matrix for the fixed node and one for each learned node.

    Attributes:
        first: (2 hidden, 2 hidden): rows of the input, then of the hidden state before.
        nodes: Per node (hidden, 2 hidden).
    """

    def __init__(self, shape: TextShape, nodes: int) -> None:
        super().__init__()
        n = shape.hidden

        def fresh(rows: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(rows, 2 * n).uniform_(-CELL_INIT, CELL_INIT))

        self.first = fresh(2 * n)
        self.nodes = nn.ParameterList(fresh(n) for _ in range(nodes))


@dataclass(frozen=True, eq=False)
class Trace:
    """States of a window, kept for probes.

    Attributes:
        states: Per state one tensor (batch, hidden) per step, without a graph.
        offsets: Per learned node (batch, steps, hidden), added to its value: zeros whose gradient
            is that of the node's values.
    """

    states: Sequence[list[Tensor]]
    offsets: Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class CellLoop:
    """A cell over windows.

    Attributes:
        weights: One matrix per node.
        cell: The activation of each node and the state that it reads.
        mask: (batch, hidden) for every state that is read.
        norms: Per state a normalization; None: none.
        trace: Receives states, gives offsets.
    """

    weights: CellWeights
    cell: RecurrentCell
    mask: Tensor | None = None
    norms: Sequence[nn.Module] | None = None
    trace: Trace | None = None

    def __call__(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Does what `unroll` does, by `fused` where that can give the gradient."""
        if self.norms is not None or self.trace is not None or not torch.is_grad_enabled():
            return self.unroll(x, hidden)
        from_input, from_hidden = self.weights.first.split(x.shape[2])
        nodes = list(self.weights.nodes)
        return fused(x @ from_input, hidden, from_hidden, nodes, self.cell, self.mask)

    def unroll(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Step by step.

        The products of nodes that read the same state are one product, and that of the input is one
        for all steps.

        Args:
            x: (steps, batch, hidden) inputs.
            hidden: (batch, hidden) output before the window.

        Returns:
            (steps, batch, hidden) outputs.
        """
        weights, cell, mask, trace = self.weights, self.cell, self.mask, self.trace
        from_input, from_hidden = weights.first.split(x.shape[2])
        groups = readers(cell)
        matrices = {s: torch.cat([weights.nodes[i] for i in n], 1) for s, n in groups.items()}
        extra = [offsets.unbind(1) for offsets in trace.offsets] if trace else None
        outputs = []
        for step, given in enumerate((x @ from_input).unbind(0)):
            product = torch.addmm(given, masked(hidden, mask), from_hidden)
            states = {0: normed(highway(hidden, product, torch.tanh), self.norms, 0)}
            for source, nodes in groups.items():
                read = states[source]
                products = (masked(read, mask) @ matrices[source]).chunk(len(nodes), dim=1)
                for node, product in zip(nodes, products, strict=True):
                    value = highway(read, product, ACTIVATIONS[cell.nodes[node][0]])
                    if extra is not None:
                        value = value + extra[node][step]
                    states[node + 1] = normed(value, self.norms, node + 1)
            if trace is not None:
                for number, kept in enumerate(trace.states):
                    kept.append(states[number].detach())
            hidden = torch.stack([states[number] for number in cell.output]).mean(dim=0)
            outputs.append(hidden)
        return torch.stack(outputs)


def normed(value: Tensor, norms: Sequence[nn.Module] | None, number: int) -> Tensor:
    """A state after its normalization, if there is one."""
    return value if norms is None else cast(Tensor, norms[number](value))


class CellRecurrence(nn.Module):
    """A given cell, every state `normalized` as in a supernet or none."""

    def __init__(self, shape: TextShape, cell: RecurrentCell, normalized: bool = False) -> None:
        super().__init__()
        self.cell = cell
        self.weights = CellWeights(shape, len(cell.nodes))
        self.norms = (
            nn.ModuleList(
                nn.BatchNorm1d(shape.hidden, affine=False) for _ in range(len(cell.nodes) + 1)
            )
            if normalized
            else None
        )

    def forward(self, x: Tensor, state: Tensor | None, masks: Masks) -> tuple[Tensor, Tensor]:
        """Outputs (steps, batch, hidden) and the last of them; no state: zeros."""
        hidden = x.new_zeros(x.shape[1:]) if state is None else state
        norms = cast("Sequence[nn.Module] | None", self.norms)
        loop = CellLoop(self.weights, self.cell, masks.hidden, norms)
        outputs = loop(masked(x, masks.input), hidden)
        return outputs, outputs[-1]


class LSTMRecurrence(nn.Module):
    """Torch's LSTM, to compare with; it drops no states between steps.

    On the validation part of penn-mini it is better so (docs/results/rnn.md).
    """

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.lstm = nn.LSTM(shape.hidden, shape.hidden)

    def forward(self, x: Tensor, state: Tensor | None, masks: Masks) -> tuple[Tensor, Tensor]:
        """Runs like `CellRecurrence`; the state is (2, batch, hidden): output and memory."""
        pair = None if state is None else (state[:1].contiguous(), state[1:].contiguous())
        outputs, (hidden, memory) = self.lstm(masked(x, masks.input), pair)
        return outputs, torch.cat([hidden, memory])


class GRURecurrence(nn.Module):
    """Torch's GRU, which like `LSTMRecurrence` drops no states between steps."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.gru = nn.GRU(shape.hidden, shape.hidden)

    def forward(self, x: Tensor, state: Tensor | None, masks: Masks) -> tuple[Tensor, Tensor]:
        """Outputs (steps, batch, hidden) and the last of them; no state: zeros."""
        start = None if state is None else state[None]
        outputs, last = self.gru(masked(x, masks.input), start)
        return outputs, last[0]


@dataclass(frozen=True, eq=False)
class Window:
    """A model's answer to a window.

    Attributes:
        logits: (steps, batch, vocabulary).
        raw: (steps, batch, hidden) outputs of the cell.
        dropped: The same after dropout.
        state: Behind the last step.
    """

    logits: Tensor
    raw: Tensor
    dropped: Tensor
    state: Tensor


class LanguageModel(nn.Module):
    """Embeddings, something recurrent, and a decoder that shares the embeddings' weights."""

    def __init__(self, shape: TextShape, recurrence: nn.Module) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.hidden)
        nn.init.uniform_(self.embedding.weight, -EMBEDDING_INIT, EMBEDDING_INIT)
        self.bias = nn.Parameter(torch.zeros(shape.vocabulary))
        self.recurrence = recurrence

    def forward(self, words: Tensor, state: Tensor | None, masks: Masks | None = None) -> Window:
        """(steps, batch) ids and the state before to logits and the state after."""
        masks = Masks() if masks is None else masks
        x = embedded(self.embedding.weight, words, masks)
        raw, after = self.recurrence(x, state, masks)
        dropped = masked(raw, masks.output)
        logits = F.linear(dropped, self.embedding.weight, self.bias)
        return Window(logits, raw, dropped, after)

    def counted(self) -> int:
        """Number of trainable values."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def embedded(table: Tensor, words: Tensor, masks: Masks) -> Tensor:
    """Vectors (steps, batch, hidden) of words (steps, batch) under dropout."""
    rows = table if masks.word is None else table * masks.word
    return masked(F.embedding(words, rows), masks.embedding)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean nats per word."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def penalties(window: Window, activation: float, slowness: float) -> Tensor:
    """Penalties on large outputs and on their change (Merity et al., ICLR 2018, section 5.1).

    A window of one step has no change, so it has no penalty on it.

    Args:
        window: Of a training step.
        activation: Weight of the mean square of outputs after dropout.
        slowness: Weight of the mean square of differences between steps.
    """
    total = activation * window.dropped.pow(2).mean()
    if len(window.raw) == 1:
        return total
    return total + slowness * (window.raw[1:] - window.raw[:-1]).pow(2).mean()


MakeRecurrence = Callable[[TextShape], nn.Module]
"""Makes an untrained recurrence."""
