"""Blocks of candidates, selections of candidates, and the gates at which a space is evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sif.errors import ShapeError

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
            warm-up and exploration: drawing others would train nothing and disturb shared weights.
        default_op: The neutral operation, chosen until another is known to be better; None: chance.
        own_weights: Whether each combination of operations has weights of its own. Then only
            selections one switch away can be compared, and edges are drawn one at a time.
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
        operations: Block name to the operation of each edge, -1 for a dropped one; also as lists,
            which is how files have them.
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
            if expected := _other_edges(self.get(block.name, ()), block):
                raise ShapeError(f"block {block.name!r}: expected {expected}")

    def to_gates(self, blocks: Sequence[Block]) -> Gates:
        """Gates of exactly 0 or 1, in float64 on the CPU; ShapeError as of `check`."""
        self.check(blocks)
        weights = {}
        for block in blocks:
            chosen = torch.tensor(self[block.name])[:, None]
            weights[block.name] = (chosen == torch.arange(block.shape[1])).double()
        return Gates(weights, self)

    def to_lists(self) -> dict[str, list[int]]:
        """Lists for files; `Selection` of them is equal."""
        return {name: list(edges) for name, edges in self.items()}

    def named(self, blocks: Sequence[Block]) -> dict[str, tuple[tuple[int, str], ...]]:
        """Block name to the kept edges with their operations' names, as genotypes have them."""
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
        """The same with another operation on one edge."""
        edges = list(self[block])
        edges[edge] = operation
        return Selection({**self.operations, block: edges})


def _other_edges(edges: Sequence[int], block: Block) -> str:
    """The first violated expectation of a block on its operations; "" if all are legal."""
    if len(edges) != len(block.nodes):
        return f"an operation for each of {len(block.nodes)} edges, found {len(edges)}"
    for k in edges:
        if not -1 <= k < len(block.operations):
            return f"operations from 0 to {len(block.operations) - 1}, found {k}"
    for node in sorted(set(block.nodes)):
        entering = [k for k, entered in zip(edges, block.nodes, strict=True) if entered == node]
        expected, count = min(block.edges_per_node, len(entering)), sum(k >= 0 for k in entering)
        if count != expected:
            return f"{expected} kept edges into node {node}, found {count}"
    return ""


@dataclass(frozen=True)
class Probing:
    """An unbiased estimate of the gates' gradient, for spaces whose probes are expensive.

    Attributes:
        factors: Block name to (n_edges, n_ops) on the CPU: factor of each probe, one over the
            chance that it was drawn; 0: not drawn, so not run.
        rows: Share of the batch, its first rows, that probes see. Unbiased for rows in random
            order, except for normalization by the statistics of these rows.
    """

    factors: Mapping[str, Tensor]
    rows: float = 1.0


@dataclass(frozen=True)
class Gates:
    """A point at which a space is evaluated.

    Attributes:
        weights: Block name to (n_edges, n_ops) gate values.
        active: The selection; None where the gates are relaxed and every operation takes part.
        probing: Candidates to probe where the gates need a gradient; None: all, exactly. A space
            whose probes cost nothing may probe everything regardless.
    """

    weights: Mapping[str, Tensor]
    active: Selection | None
    probing: Probing | None = None

    def choices(self) -> Selection:
        """The selection; ShapeError for relaxed gates."""
        if self.active is None:
            raise ShapeError("gates: expected one operation per edge, found relaxed gates")
        return self.active

    def check(self, blocks: Sequence[Block]) -> None:
        """Raises ShapeError, one line, for gates that are none of the blocks'.

        Discrete gates have a legal selection and weights of exactly 0 or 1 that say the same.
        Relaxed ones are finite numbers of the shape.
        """
        if self.active is not None:
            self.active.check(blocks)
        for block in blocks:
            weights = self.weights.get(block.name)
            if weights is None or tuple(weights.shape) != block.shape:
                actual = "nothing" if weights is None else f"shape {tuple(weights.shape)}"
                expected = f"weights of shape {block.shape}, found {actual}"
            elif self.active is None:
                expected = "" if bool(weights.isfinite().all()) else "finite weights"
            else:
                expected = _other_weights(weights.tolist(), self.active[block.name])
            if expected:
                raise ShapeError(f"block {block.name!r}: expected {expected}")


def _other_weights(rows: Sequence[Sequence[float]], edges: Sequence[int]) -> str:
    """The first row of weights that contradicts the selection; "" if none does."""
    for edge, (row, chosen) in enumerate(zip(rows, edges, strict=True)):
        if any(value != float(k == chosen) for k, value in enumerate(row)):
            content = "no operation" if chosen < 0 else f"operation {chosen} alone"
            return f"{content} on edge {edge}, found weights {row}"
    return ""
