"""Spaces of convolutional cells: a normal and a reduction cell under the gates of the core.

Seven nodes per cell: two inputs, four intermediate nodes that each keep their two best incoming
edges, and the output (DARTS; Liu et al., ICLR 2019). At a discrete point only the chosen operations
enter the graph; every other candidate is probed without one (`sif.core.probe`). The normalizations
of a supernet use the current batch and keep no statistics, so a probe leaves no trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from sif.core.gates import Block, Gates
from sif.core.genotype import Genotype, check_names
from sif.spaces.cell_space import CellSpace
from sif.spaces.cnn.cells import KEPT, Cells, cell_of, edge_nodes
from sif.spaces.cnn.networks import STEMS, CellNetwork, FixedCell, Layout, places, stem_states
from sif.spaces.cnn.operations import SKIP, Normalization
from sif.spaces.cnn.supercell import NODES, SuperCell
from sif.utils.device import lowered

NORMAL, REDUCE = "normal", "reduce"
_SIDE = 32
"""Pixels of the images that costs are counted for."""
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
    """Images (n, channels, h, w) of one step with their labels (n,) int64, on the device."""

    images: Tensor
    labels: Tensor


class CNNSpace(CellSpace):
    """The supernet.

    Args:
        name: Key of `SPECS`.
        layout: The outside; its normalizations are replaced by a supernet's.
        cost: Key of `COSTS`: the cost in the complexity penalty.
        precision: Of convolutions, "bfloat16" or "float32", which leaves the weights' own.
        nodes: Intermediate ones of a cell.

    Raises:
        ConfigError: A layout that has no such network.
    """

    def __init__(
        self, name: str, layout: Layout, cost: str = "parameters", precision: str = "float32",
        nodes: int = NODES,
    ) -> None:  # fmt: skip
        super().__init__()
        self.name, self.nodes = name, nodes
        self.precision = precision
        self.layout = replace(
            layout, norm=Normalization(affine=False, running=False), normalized_pools=True,
            auxiliary=None,
        )  # fmt: skip
        operations = SPECS[name]
        spots = places(self.layout, {NORMAL: nodes, REDUCE: nodes})
        self.stem = STEMS[layout.stem](self.layout)
        self.cells = nn.ModuleList(
            SuperCell(operations[p.kind], p, self.layout, nodes) for p in spots
        )
        self.classifier = nn.Linear(spots[-1].channels * nodes, layout.classes)
        self.blocks = tuple(
            Block(kind, operations[kind], edge_nodes(nodes), KEPT, self._costs(cost, kind))
            for kind in (NORMAL, REDUCE)
        )
        self._weights = list(self.parameters())

    def _costs(self, cost: str, kind: str) -> tuple[tuple[float, ...], ...]:
        """Cost of each candidate, over all cells of the kind; only ratios count."""
        side, total = _SIDE, np.zeros((len(edge_nodes(self.nodes)), len(SPECS[self.name][kind])))
        for cell in cast(Sequence[SuperCell], self.cells):
            if cell.block == kind:
                total += cell.costs(cost, side)
            side //= 2 if cell.block == REDUCE else 1
        return tuple(map(tuple, total.tolist()))

    def weight_parameters(self) -> list[nn.Parameter]:
        """All parameters."""
        return self._weights

    def logits(self, images: Tensor, gates: Gates) -> Tensor:
        """Logits (n, classes) under the gates."""
        with lowered(self.precision, images.device):
            states = stem_states(self.stem, images, self.layout)
            for cell in self.cells:
                states = (states[1], cell(*states, gates))
            logits: Tensor = self.classifier(states[1].mean(dim=(2, 3)))
        return logits.to(images.dtype)

    def loss(self, batch: ImageBatch, gates: Gates) -> Tensor:
        """Cross-entropy of a batch under the gates."""
        return F.cross_entropy(self.logits(batch.images, gates), batch.labels)

    def rewarded(self, batch: ImageBatch, gates: Gates) -> tuple[Tensor, Tensor]:
        """Cross-entropy of a batch, and its accuracy, the reward of ENAS (section 2.2)."""
        logits = self.logits(batch.images, gates)
        right = logits.argmax(dim=1) == batch.labels
        return F.cross_entropy(logits, batch.labels), right.to(logits).mean()

    def extract(self, gates: Gates) -> CellNetwork:
        """The network of the selection with copies of the supernet's weights.

        Its running statistics have to be estimated before it evaluates (`sif.training.averaging`).
        """
        layout = replace(self.layout, norm=replace(self.layout.norm, running=True))
        network = CellNetwork(cells_of(self.genotype(gates)), layout).to(self.reference_tensor())
        _copy(self.stem, network.stem)
        _copy(self.classifier, network.classifier)
        for own_cell, network_cell in zip(self.cells, network.cells, strict=True):
            supercell, fixed = cast(SuperCell, own_cell), cast(FixedCell, network_cell)
            _copy(supercell.inputs, fixed.inputs)
            chosen = [(e, k) for e, k in enumerate(gates.choices()[supercell.block]) if k >= 0]
            modules = [m for node in fixed.nodes for m in cast(nn.ModuleList, node)]
            for (edge, k), module in zip(chosen, modules, strict=True):
                _copy(cast(nn.ModuleList, supercell.edges[edge])[k], module)
        return network


def _copy(source: nn.Module, target: nn.Module) -> None:
    """Copies weights by name; statistics that only the target has stay."""
    target.load_state_dict(source.state_dict(), strict=False)


def cells_of(genotype: Genotype) -> Cells:
    """The cells of a searched genotype.

    Raises:
        GenotypeError: Not of a space of `SPECS`, or an edge or operation that it does not have.
    """
    check_names(genotype, genotype.space if genotype.space in SPECS else "nasp-7op",
                SPECS.get(genotype.space, SPECS["nasp-7op"]))  # fmt: skip
    chosen = [genotype.blocks[kind] for kind in (NORMAL, REDUCE)]
    return Cells(*(cell_of(edges, max(1, len(edges) // KEPT)) for edges in chosen))


def expression(cells: Cells) -> str:
    """Both cells on one line, such as "normal: 2 = sep_conv_3x3(0) + skip_connect(1), ...".

    Nodes are numbered as in `Cell`.
    """
    lines = []
    for kind, cell in ((NORMAL, cells.normal), (REDUCE, cells.reduce)):
        nodes = [
            f"{number} = " + " + ".join(f"{name}({source})" for name, source in edges)
            for number, edges in enumerate(cell.nodes, start=2)
        ]
        lines.append(f"{kind}: {', '.join(nodes)}")
    return "; ".join(lines)


def notation(genotype: Genotype) -> str:
    """The cells of a genotype on one line."""
    return expression(cells_of(genotype))


def skip_share(cells: Cells) -> dict[str, float]:
    """Share of skip connections among the edges of each cell: near 1, a search collapsed."""
    shares = {}
    for kind, cell in ((NORMAL, cells.normal), (REDUCE, cells.reduce)):
        names = [name for node in cell.nodes for name, _ in node]
        shares[kind] = names.count(SKIP) / len(names)
    return shares
