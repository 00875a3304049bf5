"""All legal selections of a space: their number, draws, and encodings as rows of integers.

A row has, for every node, the number of the set of edges that it keeps, and then the operation of
each kept edge. Every legal selection has exactly one row. Samplers search over rows: they are the
chromosomes of `nsga2` and the parameters of `tpe`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sif.core.gates import Alpha, Block, Selection
from sif.errors import ShapeError

Row = tuple[int, ...]
LISTED = 10_000
"""Spaces of at most so many selections are enumerated; larger ones are only sampled."""
REDRAWS = 1000
"""Draws that may repeat known selections; after them the remaining ones are enumerated."""


@dataclass(frozen=True)
class _Node:
    """A node of a block, its number, and the sets of edges that it may keep."""

    block: Block
    number: int
    sets: tuple[tuple[int, ...], ...]

    @property
    def kept(self) -> int:
        return len(self.sets[0])

    @property
    def count(self) -> int:
        return int(len(self.sets) * len(self.block.operations) ** self.kept)


class Selections:
    """The legal selections of a space.

    Args:
        blocks: Of the space.

    Attributes:
        blocks: Of the space.
        names: Choice behind each number of a row, such as "normal.2.edges" or "normal.2.first".
        sizes: Number of choices of each.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = tuple(blocks)
        self._nodes = [node for block in blocks for node in _nodes(block)]
        names: list[str] = []
        sizes: list[int] = []
        for node in self._nodes:
            where = f"{node.block.name}.{node.number}"
            names += [f"{where}.edges", *(f"{where}.{place}" for place in range(node.kept))]
            sizes += [len(node.sets), *(len(node.block.operations),) * node.kept]
        self.names, self.sizes = tuple(names), tuple(sizes)

    @property
    def count(self) -> int:
        """Number of legal selections."""
        return math.prod(self.sizes)

    def numbered(self, number: int) -> Selection:
        """Selection `number` of `count`; from one to the next, a row's last integer moves first."""
        row = []
        for size in reversed(self.sizes):
            number, place = divmod(number, size)
            row.append(place)
        return self.from_row(row[::-1])

    def drawn(self, generator: torch.Generator) -> Selection:
        """A random selection, uniform over all legal ones."""
        return self.from_row([int(torch.randint(n, (), generator=generator)) for n in self.sizes])

    def distinct(self, most: int, generator: torch.Generator) -> list[Selection]:
        """`most` different selections, or all if there are fewer, in random order."""
        if self.count <= LISTED:
            order = torch.randperm(self.count, generator=generator)
            return [self.numbered(number) for number in order[:most].tolist()]
        selections: dict[Selection, None] = {}
        while len(selections) < min(most, self.count):
            selections.setdefault(self.drawn(generator))
        return list(selections)

    def another(self, known: Collection[Selection], generator: torch.Generator) -> Selection | None:
        """A random selection that is not known, uniform over these; None: hardly any is left."""
        if len(known) >= self.count:
            return None
        for _ in range(REDRAWS):
            selection = self.drawn(generator)
            if selection not in known:
                return selection
        if self.count > LISTED:
            return None
        rest = self.distinct(self.count, generator)
        return next((selection for selection in rest if selection not in known), None)

    def other_operations(self, selection: Selection) -> list[Selection]:
        """The selections that have another operation on one of the kept edges."""
        return [
            selection.switched(block.name, edge, operation)
            for block in self.blocks
            for edge, chosen in enumerate(selection[block.name])
            if chosen >= 0
            for operation in range(len(block.operations))
            if operation != chosen
        ]

    def other_edges(self, selection: Selection) -> list[Selection]:
        """The selections that keep another edge into one node, with the operation of the former."""
        found = []
        for node in self._nodes:
            name, edges = node.block.name, _entering(node.block, node.number)
            kept = [edge for edge in edges if selection[name][edge] >= 0]
            for edge, other in itertools.product(kept, edges):
                if other not in kept:
                    moved = selection.switched(name, other, selection[name][edge])
                    found.append(moved.switched(name, edge, -1))
        return found

    def neighbors(self, selection: Selection) -> list[Selection]:
        """The selections that are one choice away: an operation, or an edge, in a fixed order."""
        return [*self.other_operations(selection), *self.other_edges(selection)]

    @property
    def open_nodes(self) -> list[int]:
        """Numbers of the nodes with a choice, counted over all blocks in their order."""
        return [n for n, node in enumerate(self._nodes) if node.count > 1]

    def varied(self, selection: Selection, node: int) -> Iterator[Selection]:
        """A selection with all choices of one node, its own included.

        Args:
            selection: Gives the choices of all other nodes.
            node: One of `open_nodes`.
        """
        own = self._nodes[node]
        name, entering = own.block.name, _entering(own.block, own.number)
        plain = [-1 if edge in entering else k for edge, k in enumerate(selection[name])]
        for kept in own.sets:
            for operations in itertools.product(range(own.block.shape[1]), repeat=own.kept):
                edges = list(plain)
                for edge, operation in zip(kept, operations, strict=True):
                    edges[edge] = operation
                yield Selection({**selection.operations, name: edges})

    def from_row(self, row: Sequence[int]) -> Selection:
        """The selection of a row.

        Raises:
            ShapeError: A row of another length, or a number out of its range.
        """
        if len(row) != len(self.sizes) or any(
            not 0 <= number < size for number, size in zip(row, self.sizes, strict=True)
        ):
            raise ShapeError(f"row: expected numbers below {self.sizes}, found {tuple(row)}")
        edges = {block.name: [-1] * len(block.nodes) for block in self.blocks}
        numbers = iter(row)
        for node in self._nodes:
            for edge in node.sets[next(numbers)]:
                edges[node.block.name][edge] = next(numbers)
        return Selection(edges)

    def to_row(self, selection: Selection) -> Row:
        """The row of a selection; ShapeError for an illegal one."""
        selection.check(self.blocks)
        row: list[int] = []
        for node in self._nodes:
            edges = selection[node.block.name]
            kept = tuple(e for e in _entering(node.block, node.number) if edges[e] >= 0)
            row += [node.sets.index(kept), *(edges[edge] for edge in kept)]
        return tuple(row)

    def marginals(self, chances: Sequence[Tensor]) -> Alpha:
        """Block name to (n_edges, n_ops): the chance of each candidate if a row is drawn.

        Args:
            chances: For every number of a row, drawn independently, (size) float64 that sum to 1.
        """
        tables = {b.name: torch.zeros(b.shape, dtype=torch.float64) for b in self.blocks}
        numbers = iter(chances)
        for node in self._nodes:
            sets = next(numbers)
            operations = [next(numbers) for _ in range(node.kept)]
            for chance, edges in zip(sets, node.sets, strict=True):
                for edge, by_operation in zip(edges, operations, strict=True):
                    tables[node.block.name][edge] += chance * by_operation
        return tables


def _entering(block: Block, number: int) -> list[int]:
    return [edge for edge, entered in enumerate(block.nodes) if entered == number]


def _nodes(block: Block) -> list[_Node]:
    nodes = []
    for number in sorted(set(block.nodes)):
        edges = _entering(block, number)
        sets = itertools.combinations(edges, min(block.edges_per_node, len(edges)))
        nodes.append(_Node(block, number, tuple(sets)))
    return nodes
