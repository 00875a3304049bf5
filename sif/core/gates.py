"""Blocks of candidates, gates that choose among them, and whether gates of a method are legal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sif.errors import ConfigError, ShapeError

Alpha = dict[str, Tensor]


@dataclass(frozen=True)
class Block:
    """A table of candidate edges x operations.

    Attributes:
        name: Unique within the space.
        operations: (n_ops) names, the columns.
        nodes: (n_edges) number of the node that each edge enters, the rows.
        edges_per_node: Edges that each node keeps: 2 in CNN cells, 1 in RNN cells and functions.
        costs: (n_edges) x (n_ops) cost of each candidate in any unit, for the complexity penalty;
            None: all free.
        weighted: Whether the operations have weights of their own. Only such blocks are drawn in
            warm-up and exploration: elsewhere that would train nothing, and disturb what is shared.
        default_op: The neutral operation, chosen until another is known to be better; None: chance.
        own_weights: Whether each combination of operations has weights of its own. Then only what
            is one switch away can be told apart, and edges are drawn one at a time.
    """

    name: str
    operations: tuple[str, ...]
    nodes: tuple[int, ...] = (0,)
    edges_per_node: int = 1
    costs: tuple[tuple[float, ...], ...] | None = None
    weighted: bool = True
    default_op: str | None = None
    own_weights: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(n_edges, n_ops)."""
        return len(self.nodes), len(self.operations)


@dataclass(frozen=True)
class Probing:
    """An unbiased estimate of the gates' gradient in place of all of it, where probes are dear.

    Attributes:
        factors: Block name to (n_edges, n_ops) on the CPU: by what a probe counts, one over the
            chance that it was drawn; 0: not drawn, so not run.
        rows: Share of the batch, its first rows, that probes see. Unbiased for rows in random
            order, but for normalization by the statistics of the rows at hand.
    """

    factors: Mapping[str, Tensor]
    rows: float = 1.0


@dataclass(frozen=True)
class Gates:
    """A point at which a space is evaluated.

    Attributes:
        weights: Block name to (n_edges, n_ops) gate values.
        active: Block name to the operation of each edge, -1 for a dropped edge; None where the
            gates are relaxed and every operation takes part.
        probing: What is probed where the gates need a gradient; None: everything, exactly. A space
            whose probes cost nothing may probe everything regardless.
    """

    weights: Mapping[str, Tensor]
    active: Mapping[str, tuple[int, ...]] | None
    probing: Probing | None = None

    def choices(self) -> dict[str, tuple[int, ...]]:
        """The active operation of each edge; ShapeError for relaxed gates."""
        if self.active is None:
            raise ShapeError("gates: expected one operation per edge, found relaxed gates")
        return dict(self.active)


def selected(active: dict[str, tuple[int, ...]], blocks: Sequence[Block]) -> Gates:
    """Gates of the active operation of every edge, -1 for a dropped one."""
    weights = {}
    for block in blocks:
        table = torch.zeros(block.shape, dtype=torch.float64)
        for edge, operation in enumerate(active[block.name]):
            if operation >= 0:
                table[edge, operation] = 1.0
        weights[block.name] = table
    return Gates(weights, active)


def cost_of(gates: Gates, blocks: Sequence[Block]) -> float:
    """What a selection costs by `Block.costs`; blocks without costs are free."""
    total = 0.0
    for block in blocks:
        if block.costs is not None:
            for edge, operation in enumerate(gates.choices()[block.name]):
                total += block.costs[edge][operation] if operation >= 0 else 0.0
    return total


def check_gates(gates: Gates, blocks: Sequence[Block], method: Any) -> None:
    """Raises ConfigError, one line that names the method, for gates that are none of the blocks'.

    Discrete gates have one operation on every kept edge, as many edges per node as the block keeps,
    and weights of exactly 0 or 1 that say the same. Relaxed ones are finite numbers of the shape.
    """
    for block in blocks:
        fault = _fault(gates, block)
        if fault is not None:
            raise ConfigError(f"method {type(method).__name__}: block {block.name!r}: {fault}")


def _fault(gates: Gates, block: Block) -> str | None:
    weights = gates.weights.get(block.name)
    found = "nothing" if weights is None else f"shape {tuple(weights.shape)}"
    if weights is None or tuple(weights.shape) != block.shape:
        return f"expected weights of shape {block.shape}, found {found}"
    if gates.active is None:
        return None if bool(weights.isfinite().all()) else "expected finite weights"
    active = gates.active.get(block.name)
    if active is None or len(active) != len(block.nodes):
        found = "none" if active is None else str(len(active))
        return f"expected an operation for each of {len(block.nodes)} edges, found {found}"
    return _active_fault(active, block) or _weights_fault(weights, active)


def _active_fault(active: Sequence[int], block: Block) -> str | None:
    operations = len(block.operations)
    kept: dict[int, int] = {}
    for node, operation in zip(block.nodes, active, strict=True):
        if not -1 <= operation < operations:
            return f"expected operations from 0 to {operations - 1}, found {operation}"
        kept[node] = kept.get(node, 0) + (operation >= 0)
    for node, count in kept.items():
        expected = min(block.edges_per_node, block.nodes.count(node))
        if count != expected:
            return f"expected {expected} kept edges into node {node}, found {count}"
    return None


def _weights_fault(weights: Tensor, active: Sequence[int]) -> str | None:
    rows = weights.tolist()
    for edge, (row, chosen) in enumerate(zip(rows, active, strict=True)):
        if any(value != float(k == chosen) for k, value in enumerate(row)):
            told = "no operation" if chosen < 0 else f"operation {chosen} alone"
            return f"expected {told} on edge {edge}, found weights {row}"
    return None
