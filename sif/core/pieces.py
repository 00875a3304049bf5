"""The pieces that networks of a space are made of, so that a network costs what its pieces cost.

A piece is a module with inputs: an operation on an edge, a stem, a classifier. Objectives such as
parameters or latency measure pieces (`sif.search.objectives`); a selection costs the sum of what is
there in any case and of its own operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Piece:
    """A part of a network that runs once, or `count` times, for an input.

    Attributes:
        key: Name of the operation with its shapes; pieces of equal keys cost the same.
        make: The module with fresh weights, in evaluation mode.
        inputs: Its inputs.
        count: Number of such pieces in a network, each with weights of its own.
    """

    key: str
    make: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Tensor, ...]]
    count: int = 1


@dataclass(frozen=True)
class Example:
    """A whole network, from which the time between its pieces is taken.

    Attributes:
        whole: The network.
        parts: The pieces that it is made of.
    """

    whole: Piece
    parts: Sequence[Piece]


@dataclass(frozen=True)
class Pieces:
    """The pieces of all networks of a space.

    Attributes:
        fixed: Of every network.
        candidates: Block to edge to name of an operation to the pieces that its choice adds.
        unit_of_work: The input that a network is measured on, in words, such as "one image".
        entrywise: Whether `multiply_adds` also counts operations by entries, as functions of
            vectors mostly consist of them.
        examples: Some networks of the space.
    """

    fixed: Sequence[Piece]
    candidates: Mapping[str, Sequence[Mapping[str, Sequence[Piece]]]] = field(default_factory=dict)
    unit_of_work: str = "one input"
    entrywise: bool = False
    examples: Sequence[Example] = ()

    @property
    def fixed_keys(self) -> str:
        """The keys of what every network has, in one text that names the space of networks."""
        return "; ".join(f"{piece.count} {piece.key}" for piece in self.fixed)

    def parts(self, kept: Mapping[str, Sequence[tuple[int, str]]]) -> list[Piece]:
        """The pieces of a network.

        Args:
            kept: Block to edge and name of an operation, as in a genotype.
        """
        chosen = [
            piece
            for block, edges in kept.items()
            if block in self.candidates
            for edge, name in edges
            for piece in self.candidates[block][edge][name]
        ]
        return [*self.fixed, *chosen]

    def all(self) -> Iterator[Piece]:
        """Every piece, those of equal keys once."""
        every = [*self.fixed]
        for edges in self.candidates.values():
            every += [piece for edge in edges for pieces in edge.values() for piece in pieces]
        yield from {piece.key: piece for piece in every}.values()


class Applied(nn.Module):
    """A function as a module without weights.

    Args:
        function: Of the inputs.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        """The result of the function."""
        return self.function(*inputs)
