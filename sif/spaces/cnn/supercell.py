"""A cell with every candidate on every edge: chosen operations are in the graph, others probed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from sif.core.gates import Gates
from sif.core.probe import Candidate, gated_output, probe
from sif.spaces.cnn.cells import INPUTS, edge_nodes, edge_sources
from sif.spaces.cnn.networks import Inputs, Layout, Place, operation_module
from sif.spaces.cnn.operations import OPERATIONS, multiply_adds, parameters

NODES = 4
"""Intermediate nodes of a searched cell (DARTS, section 3.1)."""

COSTS: dict[str, Callable[[nn.Module, Place, int], int]] = {
    "parameters": lambda module, place, side: parameters(module),
    "multiply_adds": lambda module, place, side: multiply_adds(
        module, (place.channels, side, side)
    ),
}
"""Cost of a candidate, by the module, its place and the side of its input in pixels."""


class SuperCell(nn.Module):
    """A cell with every candidate operation on every edge, where it stands in a network.

    Args:
        operations: Candidates.
        place: Of the cell.
        layout: Of the network.
        nodes: Intermediate ones.
    """

    def __init__(
        self, operations: Sequence[str], place: Place, layout: Layout, nodes: int = NODES
    ) -> None:
        super().__init__()
        self.nodes = nodes
        self.block, self.place = place.kind, place
        self.pooling = [OPERATIONS[name].pooling for name in operations]
        self.inputs = Inputs(place, layout.norm)
        self.edges = nn.ModuleList(
            nn.ModuleList(operation_module(name, place, source, layout) for name in operations)
            for source in edge_sources(nodes)
        )

    def forward(self, before: Tensor, last: Tensor, gates: Gates) -> Tensor:
        """Outputs of the two cells before to this cell's."""
        states = self.inputs(before, last)
        pooled: dict[tuple[int, int], Tensor] = {}
        weights = gates.weights[self.block]
        active = None if gates.active is None else gates.active[self.block]
        for node in range(self.nodes):
            edges = [e for e, entered in enumerate(edge_nodes(self.nodes)) if entered == node]
            if active is None:
                terms = self._relaxed(edges, states, gates)
            else:
                kept = [(edge, active[edge]) for edge in edges if active[edge] >= 0]
                terms = [self._candidate(edge, k, states)() for edge, k in kept]
            value = sum(terms[1:], terms[0])
            if active is not None and weights.requires_grad:
                entering = slice(edges[0], edges[-1] + 1)
                seen, factors = len(value), None
                if gates.probing is not None:
                    seen = max(1, round(gates.probing.rows * seen))
                    factors = gates.probing.factors[self.block][entering].flatten().tolist()
                inputs = [state.detach()[:seen] for state in states]
                value = probe(
                    value, weights[entering], self._probed(edges, inputs, pooled), factors
                )
            states.append(value)
        return torch.cat(states[2:], dim=1)

    def _relaxed(
        self, edges: Sequence[int], states: Sequence[Tensor], gates: Gates
    ) -> list[Tensor]:
        """The mixture of each edge on which an operation runs."""
        weights, terms = gates.weights[self.block], []
        for edge in edges:
            factors = gates.running(self.block, edge)
            if factors is None or any(factors):
                candidates = [self._candidate(edge, k, states) for k in range(weights.shape[1])]
                terms.append(gated_output(weights[edge], None, candidates, factors))
        return terms

    def _candidate(self, edge: int, operation: int, states: Sequence[Tensor]) -> Candidate:
        module = cast(nn.ModuleList, self.edges[edge])[operation]
        return partial(module, states[edge_sources(self.nodes)[edge]])

    def _probed(
        self,
        edges: Sequence[int],
        inputs: Sequence[Tensor],
        pooled: dict[tuple[int, int], Tensor],
    ) -> list[Candidate]:
        """Every candidate of some edges, on nodes' values without a graph.

        A pooling has no weights, so edges from the same node share its result.
        """

        def shared(edge: int, k: int) -> Tensor:
            key = edge_sources(self.nodes)[edge], k
            if key not in pooled:
                pooled[key] = self._candidate(edge, k, inputs)()
            return pooled[key]

        return [
            partial(shared, edge, k) if pooling else self._candidate(edge, k, inputs)
            for edge in edges
            for k, pooling in enumerate(self.pooling)
        ]

    def costs(self, cost: str, side: int) -> list[list[int]]:
        """(edges, operations) costs by a key of `COSTS`, for inputs of a side in pixels."""
        inner = side // 2 if self.place.reduction else side
        return [
            [
                COSTS[cost](module, self.place, side if source < INPUTS else inner)
                for module in cast(nn.ModuleList, edge)
            ]
            for source, edge in zip(edge_sources(self.nodes), self.edges, strict=True)
        ]
