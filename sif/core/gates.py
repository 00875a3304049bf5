"""Blocks of candidates, selections of candidates, and the gates at which a space is evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sif.errors import ShapeError

Alpha = dict[str, Tensor]
"""Block name to (n_edges, n_ops) float64 on the CPU: the continuous variable of each candidate."""


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
        weighted: Whether its operations have weights at all. Warm-up and exploration draw only
            such blocks: drawing others would train nothing and disturb the weights around them.
        default_op: Name of the operation that is selected at the start; None: a random one.
        own_weights: Whether weights belong to the whole combination of operations, over all such
            blocks, and not to each operation. A combination then learns nothing from the training
            of others, so warm-up and exploration change one edge at a time.
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


@dataclass(frozen=True, eq=False)
class Selection(Mapping[str, tuple[int, ...]]):
    """The operation of every edge of every block: one discrete architecture, frozen and hashable.

    It reads like a mapping and equals every mapping with the same content.

    Attributes:
        operations: Block name to the index of each edge's operation, -1 for an edge that is not
            kept; given as lists, as in files, or as tuples.
    """

    operations: Mapping[str, Sequence[int]]

    def __post_init__(self) -> None:
        frozen = {name: tuple(edges) for name, edges in self.operations.items()}
        object.__setattr__(self, "operations", frozen)

    def __getitem__(self, block: str) -> tuple[int, ...]:
        return tuple(self.operations[block])

    def __iter__(self) -> Iterator[str]:
        return iter(self.operations)

    def __len__(self) -> int:
        return len(self.operations)

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def check(self, blocks: Sequence[Block]) -> None:
        """Raises ShapeError, one line, unless it is a selection of the blocks.

        Every block has an operation for each edge, and every node keeps its number of edges.
        """
        names = [block.name for block in blocks]
        if unknown := set(self) - set(names):
            raise ShapeError(f"block {min(unknown)!r}: expected one of {', '.join(names)}")
        for block in blocks:
            if error := _edges_error(self.get(block.name, ()), block):
                raise ShapeError(f"block {block.name!r}: {error}")

    def to_gates(self, blocks: Sequence[Block]) -> Gates:
        """Gates of exactly 0 or 1, float64 on the CPU; ShapeError for an illegal selection."""
        self.check(blocks)
        weights = {}
        for block in blocks:
            chosen = torch.tensor(self[block.name])[:, None]
            weights[block.name] = (chosen == torch.arange(block.shape[1])).double()
        return Gates(weights, self)

    def to_lists(self) -> dict[str, list[int]]:
        """Lists for files, of which `Selection` makes an equal value."""
        return {name: list(edges) for name, edges in self.items()}

    def named(self, blocks: Sequence[Block]) -> dict[str, tuple[tuple[int, str], ...]]:
        """Block name to (edge, name of its operation) of the kept edges, as in a genotype."""
        return {
            block.name: tuple(
                (edge, block.operations[k]) for edge, k in enumerate(self[block.name]) if k >= 0
            )
            for block in blocks
        }

    def cost(self, blocks: Sequence[Block]) -> float:
        """The sum of `Block.costs` over the kept edges; blocks without costs are free."""
        total = 0.0
        for block in blocks:
            if block.costs is not None:
                for edge, operation in enumerate(self[block.name]):
                    total += block.costs[edge][operation] if operation >= 0 else 0.0
        return total

    def switched(self, block: str, edge: int, operation: int) -> Selection:
        """A copy with another operation on one edge."""
        edges = list(self[block])
        edges[edge] = operation
        return Selection({**self.operations, block: edges})


def _edges_error(edges: Sequence[int], block: Block) -> str:
    """Message about the first edge or node that breaks the block's rules; "" if none does."""
    if len(edges) != len(block.nodes):
        return f"expected an operation for each of {len(block.nodes)} edges, found {len(edges)}"
    for k in edges:
        if not -1 <= k < len(block.operations):
            return f"expected operations from 0 to {len(block.operations) - 1}, found {k}"
    for node in sorted(set(block.nodes)):
        entering = [k for k, entered in zip(edges, block.nodes, strict=True) if entered == node]
        expected, kept = min(block.edges_per_node, len(entering)), sum(k >= 0 for k in entering)
        if kept != expected:
            return f"expected {expected} kept edges into node {node}, found {kept}"
    return ""


@dataclass(frozen=True)
class Probing:
    """Asks for an unbiased estimate of the gates' gradient, where exact probes are expensive.

    In a mixture it says which candidates run at all: those whose factor is not 0. The gates of the
    others have to be 0.

    Attributes:
        factors: Block name to (n_edges, n_ops) on the CPU: the factor of each candidate's
            derivative, 1 / the probability that it was drawn; 0: not drawn, so not run.
        rows: Share of the batch, its first rows, that probes see. Unbiased for rows in random
            order, except for normalization by the statistics of these rows.
    """

    factors: Mapping[str, Tensor]
    rows: float = 1.0


@dataclass(frozen=True)
class Gates:
    """The factor of every operation's output: a point at which a space is evaluated.

    Attributes:
        weights: Block name to (n_edges, n_ops) gate values.
        active: The selection, if the gates are exactly 0 or 1; None if they mix all operations.
        probing: How to estimate the gradient by the gates, or what of a mixture runs; None:
            exactly, and all. A space whose probes cost nothing may be exact in any case.
    """

    weights: Mapping[str, Tensor]
    active: Selection | None
    probing: Probing | None = None

    def choices(self) -> Selection:
        """The selection; ShapeError for relaxed gates."""
        if self.active is None:
            raise ShapeError("gates: expected one operation per edge, found relaxed gates")
        return self.active

    def running(self, block: str, edge: int = 0) -> list[float] | None:
        """Factors of an edge's candidates by `probing`, as numbers; None: all run."""
        return None if self.probing is None else self.probing.factors[block][edge].tolist()

    def check(self, blocks: Sequence[Block]) -> None:
        """Raises ShapeError, one line, for gates that do not fit the blocks.

        Discrete gates need a legal selection and weights of exactly 0 or 1 that agree with it;
        relaxed ones finite numbers of each block's shape.
        """
        if self.active is not None:
            self.active.check(blocks)
        for block in blocks:
            weights = self.weights.get(block.name)
            if weights is None or tuple(weights.shape) != block.shape:
                actual = "nothing" if weights is None else f"shape {tuple(weights.shape)}"
                error = f"expected weights of shape {block.shape}, found {actual}"
            elif self.active is None:
                error = "" if bool(weights.isfinite().all()) else "expected finite weights"
            else:
                error = _weights_error(weights.tolist(), self.active[block.name])
            if error:
                raise ShapeError(f"block {block.name!r}: {error}")


def _weights_error(rows: Sequence[Sequence[float]], edges: Sequence[int]) -> str:
    """Message about the first row of weights that contradicts the selection; "" if none does."""
    for edge, (row, chosen) in enumerate(zip(rows, edges, strict=True)):
        if any(value != float(k == chosen) for k, value in enumerate(row)):
            content = "no operation" if chosen < 0 else f"operation {chosen} alone"
            return f"expected {content} on edge {edge}, found weights {row}"
    return ""
