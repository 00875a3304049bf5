"""The space of recurrent cells: for each node one matrix, a chosen activation and a chosen state.

Eight learned nodes with 1 + 2 + ... + 8 = 36 candidate edges and four activations each (DARTS; Liu
et al., ICLR 2019, section 3.2). At a discrete point a time step takes one matrix product per node;
all other candidates are probed on the states of that pass, for the whole window at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sif.core.gates import Block, Gates
from sif.core.genotype import Genotype, check_names
from sif.core.probe import Candidate, probe
from sif.spaces.cell_space import CellSpace
from sif.spaces.rnn.cells import ACTIVATIONS, RecurrentCell, cell_of, edge_nodes, expression
from sif.spaces.rnn.dropout import TextShape, draw_masks, masked
from sif.spaces.rnn.networks import (
    CellLoop,
    CellRecurrence,
    CellWeights,
    LanguageModel,
    Trace,
    cross_entropy,
    embedded,
    highway,
    normed,
)

BLOCK = "recurrent"
SPACE = "nasp-ptb"
KEPT = 1
"""States that a node reads (DARTS, section 3.2)."""


@dataclass(frozen=True, eq=False)
class TextBatch:
    """A window of some columns of a text.

    Attributes:
        inputs: (steps, batch) int64 ids of words.
        targets: (steps, batch) the words that follow.
        carry: Object whose `value` is the state before the window, None at the beginning of a text;
            the space puts the state behind the window there.
        start: The state before the window, (batch, hidden) or None.
        seed: Of the window's dropout.
    """

    inputs: Tensor
    targets: Tensor
    carry: Any
    start: Tensor | None
    seed: int


class RNNSpace(CellSpace):
    """The supernet.

    Args:
        shape: Of the model.
        dropout: Name of each of `sif.spaces.rnn.dropout.Masks` to the search's chance to drop.
        normalized: Whether every state is normalized over the columns, as in DARTS' search;
            without, mixtures of all operations grow from node to node.
    """

    name = SPACE

    def __init__(
        self, shape: TextShape, dropout: Mapping[str, float], normalized: bool = True
    ) -> None:
        super().__init__()
        self.shape, self.dropout = shape, dropout
        self.model = LanguageModel(shape, CellWeights(shape, shape.nodes))
        # One for each state, without statistics of its own: a probe leaves no trace.
        self.norms: nn.ModuleList | None = None
        if normalized:
            self.norms = nn.ModuleList(
                nn.BatchNorm1d(shape.hidden, affine=False, track_running_stats=False)
                for _ in range(shape.nodes + 1)
            )
        nodes = edge_nodes(shape.nodes)
        self.blocks = (Block(BLOCK, tuple(ACTIVATIONS), nodes, KEPT),)

    @property
    def _weights(self) -> CellWeights:
        return cast(CellWeights, self.model.recurrence)

    def loss(self, batch: TextBatch, gates: Gates) -> Tensor:
        """Mean nats per word of a window under the gates; moves the batch's state on."""
        columns = batch.inputs.shape[1]
        masks = draw_masks(self.dropout, self.shape, columns, self.reference_tensor(), batch.seed)
        table = self.model.embedding.weight
        x = embedded(table, batch.inputs, masks)
        x = masked(x, masks.input)
        hidden = x.new_zeros(columns, self.shape.hidden) if batch.start is None else batch.start
        if gates.active is None:
            outputs = self._relaxed(x, hidden, masks.hidden, gates.weights[BLOCK])
        else:
            outputs = self._discrete(x, hidden, masks.hidden, gates)
        batch.carry.value = outputs[-1].detach()
        logits = F.linear(masked(outputs, masks.output), table, self.model.bias)
        return cross_entropy(logits, batch.targets)

    def _discrete(self, x: Tensor, hidden: Tensor, mask: Tensor | None, gates: Gates) -> Tensor:
        cell, trace = self._cell(gates), None
        if gates.weights[BLOCK].requires_grad:
            trace = self._trace(x, mask, gates)
        norms = cast("Sequence[nn.Module] | None", self.norms)
        return CellLoop(self._weights, cell, mask, norms, trace)(x, hidden)

    def _trace(self, x: Tensor, mask: Tensor | None, gates: Gates) -> Trace:
        """Zeros for every node; their gradient probes the candidates of all steps at once."""
        steps, columns, width = x.shape
        states: list[list[Tensor]] = [[] for _ in range(self.shape.nodes + 1)]
        seen = columns
        if gates.probing is not None:
            seen = max(1, round(gates.probing.rows * columns))
        candidates = _Candidates(states, self._weights, None if mask is None else mask[:seen], seen)
        entered, offsets = edge_nodes(self.shape.nodes), []
        for node in range(self.shape.nodes):
            edges = [e for e, n in enumerate(entered) if n == node]
            rows = slice(edges[0], edges[-1] + 1)
            factors = None
            if gates.probing is not None:
                factors = gates.probing.factors[BLOCK][rows].flatten().tolist()
            zeros = x.new_zeros(columns, steps, width)
            offsets.append(probe(zeros, gates.weights[BLOCK][rows], candidates.of(node), factors))
        return Trace(states, offsets)

    def _relaxed(self, x: Tensor, hidden: Tensor, mask: Tensor | None, weights: Tensor) -> Tensor:
        """All states and activations of every node, by their weights."""
        outputs = []
        norms = cast("Sequence[nn.Module] | None", self.norms)
        weights = weights.to(x)
        from_input, from_hidden = self._weights.first.split(self.shape.hidden)
        for given in (x @ from_input).unbind(0):
            product = torch.addmm(given, masked(hidden, mask), from_hidden)
            states = [normed(highway(hidden, product, torch.tanh), norms, 0)]
            first = 0
            for node, matrix in enumerate(self._weights.nodes):
                read = torch.stack(states)
                product = masked(read, mask) @ matrix
                carry, fresh = product.chunk(2, dim=-1)
                gate = torch.sigmoid(carry)
                shares = weights[first : first + node + 1, :, None, None]
                first += node + 1
                value = torch.zeros_like(hidden)
                for k, activation in enumerate(ACTIVATIONS.values()):
                    mixed = shares[:, k] * torch.lerp(read, activation(fresh), gate)
                    value = value + mixed.sum(dim=0)
                states.append(normed(value, norms, node + 1))
            hidden = torch.stack(states[1:]).mean(dim=0)
            outputs.append(hidden)
        return torch.stack(outputs)

    def _cell(self, gates: Gates) -> RecurrentCell:
        return cell_of(gates.choices().named(self.blocks)[BLOCK], self.shape.nodes)

    def extract(self, gates: Gates) -> LanguageModel:
        """The language model of the selection with copies of the supernet's weights.

        Normalizations, if there are, keep running statistics there, which have to be estimated
        before it evaluates.
        """
        recurrence = CellRecurrence(self.shape, self._cell(gates), self.norms is not None)
        model = LanguageModel(self.shape, recurrence).to(self.reference_tensor())
        recurrence.weights.load_state_dict(self._weights.state_dict())
        model.embedding.load_state_dict(self.model.embedding.state_dict())
        with torch.no_grad():
            model.bias.copy_(self.model.bias)
        return model


class _Candidates:
    """The candidates of all nodes on the states of one window, computed on request."""

    def __init__(
        self, states: Sequence[list[Tensor]], weights: CellWeights, mask: Tensor | None, rows: int
    ) -> None:
        self._states, self._weights, self._mask, self._rows = states, weights, mask, rows
        self._stacked: dict[int, Tensor] = {}
        self._last: tuple[tuple[int, int], tuple[Tensor, Tensor]] | None = None

    def of(self, node: int) -> list[Candidate]:
        """All activations of all states that a node may read, row by row."""
        activations = range(len(ACTIVATIONS))
        return [partial(self._answer, node, s, k) for s in range(node + 1) for k in activations]

    def _answer(self, node: int, source: int, activation: int) -> Tensor:
        """(rows, steps, hidden)."""
        read = self._read(source)
        gate, fresh = self._product(node, source, read)
        return torch.lerp(read, tuple(ACTIVATIONS.values())[activation](fresh), gate)

    def _read(self, source: int) -> Tensor:
        if source not in self._stacked:
            stacked = torch.stack([state[: self._rows] for state in self._states[source]], dim=1)
            self._stacked[source] = stacked
        return self._stacked[source]

    def _product(self, node: int, source: int, read: Tensor) -> tuple[Tensor, Tensor]:
        """Product of a state with a node's matrix, kept for the activations that follow."""
        if self._last is None or self._last[0] != (node, source):
            masked = read if self._mask is None else read * self._mask[:, None]
            carry, fresh = (masked @ self._weights.nodes[node]).chunk(2, dim=-1)
            self._last = (node, source), (torch.sigmoid(carry), fresh)
        return self._last[1]


def recurrent_cell(genotype: Genotype) -> RecurrentCell:
    """The cell of a searched genotype.

    Raises:
        GenotypeError: Of another space, or an edge or activation that the space does not have.
    """
    check_names(genotype, SPACE, {BLOCK: tuple(ACTIVATIONS)})
    return cell_of(genotype.blocks[BLOCK], len(genotype.blocks[BLOCK]))


def notation(genotype: Genotype) -> str:
    """The cell of a genotype on one line."""
    return expression(recurrent_cell(genotype))
