"""Spaces of convolutional cells: a normal and a reduction cell under the gates of the core.

Seven nodes per cell: two inputs, four intermediate nodes that each keep their two best incoming
edges, and the output (DARTS; Liu et al., ICLR 2019). At a discrete point only the chosen operations
enter the graph; every other candidate is probed without one (`sif.probe`). The normalisations
of a supernet use the batch at hand and keep no statistics, so a probe leaves no trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sif.genotype import Genotype, check_names
from sif.probe import Candidate, mix, probe
from sif.prox import Block, Gates
from sif.spaces.cells import KEPT, Cells, cell_of, edge_nodes, edge_sources
from sif.spaces.cnn_networks import (
    STEMS,
    CellNetwork,
    FixedCell,
    Inputs,
    Layout,
    Place,
    operation_module,
    places,
    stem_states,
)
from sif.spaces.cnn_ops import OPERATIONS, Normalisation, parameters

NORMAL, REDUCE = "normal", "reduce"
STEPS = 4
"""Intermediate nodes of a searched cell (DARTS, section 3.1)."""

_DARTS = (
    "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3",
    "dil_conv_5x5",
)  # fmt: skip
SPECS: dict[str, dict[str, tuple[str, ...]]] = {
    "nasp-7op": {NORMAL: _DARTS, REDUCE: _DARTS},
    "nasp-12op": {
        NORMAL: (
            "skip_connect", "conv_3x1_1x3", "dil_conv_3x3", "conv_1x1", "conv_3x3", "sep_conv_3x3",
            "sep_conv_5x5", "sep_conv_7x7",
        ),
        REDUCE: (
            "skip_connect", "avg_pool_3x3", "max_pool_3x3", "max_pool_5x5", "max_pool_7x7",
        ),
    },
}  # fmt: skip
"""Space to block to operations: those of DARTS without "none", for which the constraints stand, and
the twelve of genotypes.py of NASP-codes."""


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Images of one step, on the device.

    Attributes:
        images: (n, channels, h, w).
        labels: (n,) int64.
    """

    images: Tensor
    labels: Tensor


class SuperCell(nn.Module):
    """A cell with every candidate operation on every edge.

    Args:
        operations: Names of the candidates.
        place: Where it stands.
        layout: Of the network.
    """

    def __init__(self, operations: Sequence[str], place: Place, layout: Layout) -> None:
        super().__init__()
        self.block = place.kind
        self.pooling = [OPERATIONS[name].pooling for name in operations]
        self.inputs = Inputs(place, layout.norm)
        self.edges = nn.ModuleList(
            nn.ModuleList(operation_module(name, place, source, layout) for name in operations)
            for source in edge_sources(STEPS)
        )

    def forward(self, before: Tensor, last: Tensor, gates: Gates) -> Tensor:
        """Outputs of the two cells before to this cell's."""
        states = self.inputs(before, last)
        pooled: dict[tuple[int, int], Tensor] = {}
        weights = gates.weights[self.block]
        active = None if gates.active is None else gates.active[self.block]
        for node in range(STEPS):
            edges = [e for e, entered in enumerate(edge_nodes(STEPS)) if entered == node]
            if active is None:
                terms = [self._relaxed(edge, states, weights[edge]) for edge in edges]
            else:
                kept = [(edge, active[edge]) for edge in edges if active[edge] >= 0]
                terms = [self._candidate(edge, k, states)() for edge, k in kept]
            value = sum(terms[1:], terms[0])
            if active is not None and weights.requires_grad:
                rows = weights[edges[0] : edges[-1] + 1]
                value = probe(value, rows, self._probed(edges, states, pooled))
            states.append(value)
        return torch.cat(states[2:], dim=1)

    def _relaxed(self, edge: int, states: Sequence[Tensor], weights: Tensor) -> Tensor:
        operations = range(len(weights))
        return mix(weights, None, [self._candidate(edge, k, states) for k in operations])

    def _candidate(self, edge: int, operation: int, states: Sequence[Tensor]) -> Candidate:
        module = cast(nn.ModuleList, self.edges[edge])[operation]
        return partial(module, states[edge_sources(STEPS)[edge]])

    def _probed(
        self,
        edges: Sequence[int],
        states: Sequence[Tensor],
        pooled: dict[tuple[int, int], Tensor],
    ) -> list[Candidate]:
        """Every candidate of some edges, on inputs without a graph.

        A pooling has no weights, so edges from the same node share its result.
        """
        inputs = [state.detach() for state in states]

        def shared(edge: int, k: int) -> Tensor:
            key = edge_sources(STEPS)[edge], k
            if key not in pooled:
                pooled[key] = self._candidate(edge, k, inputs)()
            return pooled[key]

        return [
            partial(shared, edge, k) if pooling else self._candidate(edge, k, inputs)
            for edge in edges
            for k, pooling in enumerate(self.pooling)
        ]


class CNNSpace(nn.Module):
    """The supernet.

    Args:
        name: Key of `SPECS`.
        layout: The outside; its normalisations are replaced by a supernet's.

    Raises:
        ConfigError: A layout that has no such network.
    """

    def __init__(self, name: str, layout: Layout) -> None:
        super().__init__()
        self.name = name
        self.layout = replace(
            layout, norm=Normalisation(affine=False, running=False), normalised_pools=True,
            auxiliary=None,
        )  # fmt: skip
        operations = SPECS[name]
        spots = places(self.layout, {NORMAL: STEPS, REDUCE: STEPS})
        self.stem = STEMS[layout.stem](self.layout)
        self.cells = nn.ModuleList(SuperCell(operations[p.kind], p, self.layout) for p in spots)
        self.classifier = nn.Linear(spots[-1].channels * STEPS, layout.classes)
        self.blocks = tuple(
            Block(kind, operations[kind], edge_nodes(STEPS), KEPT, self._costs(kind))
            for kind in (NORMAL, REDUCE)
        )
        self._weights = list(self.parameters())

    def _costs(self, kind: str) -> tuple[tuple[float, ...], ...]:
        """Weights of each candidate, over all cells of the kind."""
        cells = [c for c in cast(Sequence[SuperCell], self.cells) if c.block == kind]
        return tuple(
            tuple(
                float(sum(parameters(cast(nn.ModuleList, c.edges[edge])[k]) for c in cells))
                for k in range(len(SPECS[self.name][kind]))
            )
            for edge in range(len(edge_nodes(STEPS)))
        )

    def module(self) -> nn.Module:
        """The space itself."""
        return self

    def like(self) -> Tensor:
        """A tensor of the space's device and dtype."""
        return self.classifier.weight

    def weight_parameters(self) -> list[nn.Parameter]:
        """All parameters."""
        return self._weights

    def arch_parameters(self) -> list[nn.Parameter]:
        """None: everything that is searched is discrete."""
        return []

    def logits(self, images: Tensor, gates: Gates) -> Tensor:
        """Logits (n, classes) under the gates."""
        states = stem_states(self.stem, images, self.layout)
        for cell in self.cells:
            states = (states[1], cell(*states, gates))
        return cast(Tensor, self.classifier(states[1].mean(dim=(2, 3))))

    def loss(self, batch: ImageBatch, gates: Gates) -> Tensor:
        """Cross-entropy of a batch under the gates."""
        return F.cross_entropy(self.logits(batch.images, gates), batch.labels)

    def regulariser(self, gates: Gates) -> Tensor:
        """Zero: weight decay is the optimiser's, which leaves operations at rest alone."""
        return torch.zeros((), device=self.like().device)

    def genotype(self, gates: Gates) -> Genotype:
        """The kept edges of both cells with their operations."""
        active = gates.selection()
        return Genotype(
            self.name,
            {
                block.name: tuple(
                    (edge, block.operations[k])
                    for edge, k in enumerate(active[block.name])
                    if k >= 0
                )
                for block in self.blocks
            },
        )

    def expression(self, genotype: Genotype) -> str:
        """Both cells on one line."""
        return expression(genotype)

    def extract(self, gates: Gates) -> CellNetwork:
        """The network of the selection with copies of the supernet's weights.

        It keeps running statistics, which have to be estimated (`recalibrate`) before it evaluates.
        """
        layout = replace(self.layout, norm=replace(self.layout.norm, running=True))
        network = CellNetwork(cells_of(self.genotype(gates)), layout).to(self.like())
        _copy(self.stem, network.stem)
        _copy(self.classifier, network.classifier)
        for ours, theirs in zip(self.cells, network.cells, strict=True):
            mine, fixed = cast(SuperCell, ours), cast(FixedCell, theirs)
            _copy(mine.inputs, fixed.inputs)
            chosen = [(e, k) for e, k in enumerate(gates.selection()[mine.block]) if k >= 0]
            modules = [m for node in fixed.nodes for m in cast(nn.ModuleList, node)]
            for (edge, k), module in zip(chosen, modules, strict=True):
                _copy(cast(nn.ModuleList, mine.edges[edge])[k], module)
        return network


def _copy(source: nn.Module, target: nn.Module) -> None:
    """Weights by name; statistics that only the target keeps stay."""
    target.load_state_dict(source.state_dict(), strict=False)


def cells_of(genotype: Genotype) -> Cells:
    """The cells of a searched genotype.

    Raises:
        GenotypeError: Not of a space of `SPECS`, or an edge or operation that it does not have.
    """
    check_names(genotype, genotype.space if genotype.space in SPECS else "nasp-7op",
                SPECS.get(genotype.space, SPECS["nasp-7op"]))  # fmt: skip
    return Cells(*(cell_of(genotype.blocks[kind], STEPS) for kind in (NORMAL, REDUCE)))


def expression(genotype: Genotype) -> str:
    """Both cells on one line, such as "normal: 2 = sep_conv_3x3(0) + skip_connect(1), ...".

    Nodes are numbered as in `Cell`.
    """
    cells = cells_of(genotype)
    told = []
    for kind, cell in ((NORMAL, cells.normal), (REDUCE, cells.reduce)):
        nodes = [
            f"{number} = " + " + ".join(f"{name}({source})" for name, source in edges)
            for number, edges in enumerate(cell.nodes, start=2)
        ]
        told.append(f"{kind}: {', '.join(nodes)}")
    return "; ".join(told)


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Sequence[Tensor]) -> None:
    """Sets the running statistics of all normalisations to means over some batches of images."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta: Mapping[nn.BatchNorm2d, float | None] = {m: m.momentum for m in norms}
    training = network.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
    network.train()
    for images in batches:
        network(images)
    network.train(training)
    for norm in norms:
        norm.momentum = momenta[norm]
