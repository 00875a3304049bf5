"""The part of a supernet of recurrent cells that reads a window, whatever the window is made of.

Eight learned nodes have 1 + 2 + ... + 8 = 36 candidate edges and four activations each (DARTS; Liu
et al., ICLR 2019, section 3.2). At a discrete point a time step takes one matrix product per node;
all other candidates are probed on the states of that pass, for the whole window at once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from sif.core.gates import Block, Gates
from sif.core.probe import Candidate, probe
from sif.spaces.cell_space import CellSpace
from sif.spaces.rnn.cells import ACTIVATIONS, RecurrentCell, cell_of, edge_nodes
from sif.spaces.rnn.dropout import TextShape, masked
from sif.spaces.rnn.networks import CellLoop, CellWeights, Trace, highway, normed

BLOCK = "recurrent"
SPACE = "nasp-ptb"
KEPT = 1
"""States that a node reads (DARTS, section 3.2)."""


class RecurrentSpace(CellSpace):
    """A supernet whose cell reads windows; a subclass has embeddings, a read-out and a loss.

    Args:
        shape: Of the model.
        normalized: Whether every state is normalized over the columns, as in DARTS' search;
            without, mixtures of all operations grow from node to node.
    """

    name = SPACE

    def __init__(self, shape: TextShape, normalized: bool) -> None:
        super().__init__()
        self.shape = shape
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
    @abstractmethod
    def cell_weights(self) -> CellWeights:
        """The matrices of all nodes."""

    def outputs(self, x: Tensor, hidden: Tensor, mask: Tensor | None, gates: Gates) -> Tensor:
        """Outputs of the cell under the gates.

        Args:
            x: (steps, batch, hidden) inputs.
            hidden: (batch, hidden) output before the window.
            mask: (batch, hidden) for every state that is read.
            gates: Of all candidates.

        Returns:
            (steps, batch, hidden).
        """
        if gates.active is None:
            return self._relaxed(x, hidden, mask, gates)
        return self._discrete(x, hidden, mask, gates)

    def _discrete(self, x: Tensor, hidden: Tensor, mask: Tensor | None, gates: Gates) -> Tensor:
        cell, trace = self.cell(gates), None
        if gates.weights[BLOCK].requires_grad:
            trace = self._trace(x, mask, gates)
        norms = cast("Sequence[nn.Module] | None", self.norms)
        return CellLoop(self.cell_weights, cell, mask, norms, trace)(x, hidden)

    def _trace(self, x: Tensor, mask: Tensor | None, gates: Gates) -> Trace:
        """Zeros for every node; their gradient probes the candidates of all steps at once."""
        steps, columns, width = x.shape
        states: list[list[Tensor]] = [[] for _ in range(self.shape.nodes + 1)]
        seen = columns
        if gates.probing is not None:
            seen = max(1, round(gates.probing.rows * columns))
        candidates = _Candidates(
            states, self.cell_weights, None if mask is None else mask[:seen], seen
        )
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

    def _relaxed(self, x: Tensor, hidden: Tensor, mask: Tensor | None, gates: Gates) -> Tensor:
        """All states and activations of every node that run, by their weights."""
        outputs = []
        norms = cast("Sequence[nn.Module] | None", self.norms)
        weights = gates.weights[BLOCK].to(x, non_blocking=True)
        nodes = [self._running(node, gates) for node in range(self.shape.nodes)]
        from_input, from_hidden = self.cell_weights.first.split(self.shape.hidden)
        for given in (x @ from_input).unbind(0):
            product = torch.addmm(given, masked(hidden, mask), from_hidden)
            states = [normed(highway(hidden, product, torch.tanh), norms, 0)]
            for node, matrix in enumerate(self.cell_weights.nodes):
                value = torch.zeros_like(hidden)
                for sources, activations in nodes[node]:
                    read = torch.stack([states[source] for source in sources])
                    product = masked(read, mask) @ matrix
                    carry, fresh = product.to(read.dtype).chunk(2, dim=-1)
                    gate = torch.sigmoid(carry)
                    first = node * (node + 1) // 2 + sources[0]
                    shares = weights[first : first + len(sources), :, None, None]
                    for k in activations:
                        new = tuple(ACTIVATIONS.values())[k](fresh)
                        mixed = shares[:, k] * torch.lerp(read, new, gate)
                        value = value + mixed.sum(dim=0)
                states.append(normed(value, norms, node + 1))
            hidden = torch.stack(states[1:]).mean(dim=0)
            outputs.append(hidden)
        return torch.stack(outputs)

    def _running(self, node: int, gates: Gates) -> list[tuple[list[int], list[int]]]:
        """Neighboring states that a node of a mixture reads, with the activations that run."""
        first, every = node * (node + 1) // 2, list(range(len(ACTIVATIONS)))
        groups: list[tuple[list[int], list[int]]] = []
        for source in range(node + 1):
            factors = gates.running(BLOCK, first + source)
            runs = [k for k in every if factors is None or factors[k]]
            if groups and groups[-1][0][-1] == source - 1 and groups[-1][1] == runs:
                groups[-1][0].append(source)
            elif runs:
                groups.append(([source], runs))
        return groups

    def cell(self, gates: Gates) -> RecurrentCell:
        """The cell of the selection."""
        return cell_of(gates.choices().named(self.blocks)[BLOCK], self.shape.nodes)


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
            product = (masked @ self._weights.nodes[node]).to(read.dtype)
            carry, fresh = product.chunk(2, dim=-1)
            self._last = (node, source), (torch.sigmoid(carry), fresh)
        return self._last[1]
