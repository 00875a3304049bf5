"""The legal selections of a space as rows of small numbers, for samplers of all kinds.

A row says for every node which of the entering edges it keeps, and the operation of each of them.
Every row is legal, and every legal selection has exactly one row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sif.core.gates import Block, Gates, selected

Row = tuple[int, ...]
LISTED = 10_000
"""Rows of the largest space that is gone through whole."""


@dataclass(frozen=True)
class _Node:
    """Of a block: the sets of edges that may be kept, and how many that are."""

    block: Block
    number: int
    sets: tuple[tuple[int, ...], ...]

    @property
    def kept(self) -> int:
        return len(self.sets[0])


class Choices:
    """Rows of a space.

    Args:
        blocks: Of the space.

    Attributes:
        names: What each number of a row chooses, such as "normal.2.edges" or "normal.2.first".
        sizes: How many choices each number has.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = tuple(blocks)
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
        """Legal selections."""
        return math.prod(self.sizes)

    def numbered(self, number: int) -> Row:
        """The row of a number below `count`; the last choice runs fastest."""
        row = []
        for size in reversed(self.sizes):
            number, place = divmod(number, size)
            row.append(place)
        return tuple(reversed(row))

    def drawn(self, generator: torch.Generator) -> Row:
        """A row, each of them equally likely."""
        return tuple(int(torch.randint(size, (), generator=generator)) for size in self.sizes)

    def distinct(self, most: int, generator: torch.Generator) -> list[Row]:
        """Different rows in random order, so many or all that there are."""
        if self.count <= LISTED:
            order = torch.randperm(self.count, generator=generator)
            return [self.numbered(number) for number in order[:most].tolist()]
        rows: dict[Row, None] = {}
        while len(rows) < min(most, self.count):
            rows.setdefault(self.drawn(generator))
        return list(rows)

    def gates(self, row: Row) -> Gates:
        """The selection of a row."""
        active = {b.name: [-1] * len(b.nodes) for b in self._blocks}
        numbers = iter(row)
        for node in self._nodes:
            for edge in node.sets[next(numbers)]:
                active[node.block.name][edge] = next(numbers)
        return selected({name: tuple(chosen) for name, chosen in active.items()}, self._blocks)


def _nodes(block: Block) -> list[_Node]:
    found = []
    for number in sorted(set(block.nodes)):
        edges = [edge for edge, entered in enumerate(block.nodes) if entered == number]
        sets = itertools.combinations(edges, min(block.edges_per_node, len(edges)))
        found.append(_Node(block, number, tuple(sets)))
    return found
