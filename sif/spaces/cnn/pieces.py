"""The pieces of networks of convolutional cells, as they stand in a network that is served."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from sif.core.pieces import Applied, Example, Piece, Pieces
from sif.spaces.cnn.cells import INPUTS, KEPT, Cells, cell_of, edge_nodes, edge_sources
from sif.spaces.cnn.networks import (
    STEMS,
    CellNetwork,
    Inputs,
    Layout,
    Place,
    operation_module,
    places,
    stem_states,
)
from sif.spaces.cnn.supercell import NODES

EXAMPLES = 3
"""Whole networks that are timed to find the time between pieces."""
Placed = Callable[[nn.Module], nn.Module]
"""Puts a module on its device, in the layout of its network."""


def network_pieces(
    operations: Mapping[str, Sequence[str]], layout: Layout, shape: tuple[int, int],
    placed: Placed, like: Tensor, nodes: int = NODES,
) -> Pieces:  # fmt: skip
    """The pieces of all networks of a layout.

    Args:
        operations: "normal" and "reduce" to the operations that their edges choose from.
        layout: The outside, without its auxiliary classifier, which is not served.
        shape: Height and width of the images.
        placed: Puts modules on their device.
        like: Gives device and dtype.
        nodes: Intermediate ones of a cell.
    """
    maker = _Maker(replace(layout, auxiliary=None), placed, like, nodes)
    spots = places(layout, {"normal": nodes, "reduce": nodes})
    stem = partial(_Stem, maker.layout)
    fixed = [maker.piece("stem", stem, [(layout.image_channels, *shape)])]
    candidates: dict[str, list[dict[str, list[Piece]]]] = {
        kind: [{name: [] for name in names} for _ in edge_sources(nodes)]
        for kind, names in operations.items()
    }
    last = _side_after_stem(layout, shape)
    for place in spots:
        fixed += maker.around(place, last)
        inner = (last[0] // 2, last[1] // 2) if place.reduction else last
        for source, edge in zip(edge_sources(nodes), candidates[place.kind], strict=True):
            side = last if source < INPUTS else inner
            for name, pieces in edge.items():
                pieces.append(maker.operation(name, place, source, side))
        last = inner
    width = spots[-1].channels * nodes
    classifier = partial(_Classifier, width, layout.classes)
    fixed.append(maker.piece("classifier", classifier, [(width, *last)]))
    network = Pieces(fixed, candidates, "one image")
    wholes = [_kept(operations, nodes, turn) for turn in range(EXAMPLES)]
    examples = [Example(maker.whole(one, shape), network.parts(one)) for one in wholes]
    return replace(network, examples=examples)


Kept = Mapping[str, Sequence[tuple[int, str]]]


def _kept(operations: Mapping[str, Sequence[str]], nodes: int, turn: int) -> Kept:
    """Cells whose nodes read the two last states, by operations in turn."""
    sources, entered = edge_sources(nodes), edge_nodes(nodes)
    edges = [e for e, s in enumerate(sources) if s >= entered[e]]
    return {
        kind: tuple((e, names[(n + 3 * turn) % len(names)]) for n, e in enumerate(edges))
        for kind, names in operations.items()
    }


def _side_after_stem(layout: Layout, shape: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the first cell's second input."""
    with torch.no_grad():
        images = torch.zeros(1, layout.image_channels, *shape)
        last = stem_states(STEMS[layout.stem](layout).eval(), images, layout)[1]
    return last.shape[2], last.shape[3]


class _Maker:
    """Makes pieces of a layout; arguments as for `network_pieces`."""

    def __init__(self, layout: Layout, placed: Placed, like: Tensor, nodes: int) -> None:
        self.layout, self._placed, self._like, self._nodes = layout, placed, like, nodes

    def piece(
        self, name: str, make: Callable[[], nn.Module], shapes: Sequence[tuple[int, ...]],
        count: int = 1,
    ) -> Piece:  # fmt: skip
        """A piece of a module and the shapes (c, h, w) of its inputs."""
        like = self._like

        def inputs() -> tuple[Tensor, ...]:
            return tuple(
                torch.zeros(1, *s, dtype=like.dtype, device=like.device).contiguous(
                    memory_format=torch.channels_last
                )
                for s in shapes
            )

        told = " ".join("x".join(map(str, s)) for s in shapes)
        return Piece(f"{name} {told}", lambda: self._placed(make().eval()), inputs, count)

    def whole(self, kept: Kept, shape: tuple[int, int]) -> Piece:
        """A network."""
        cells = Cells(*(cell_of(tuple(kept[kind]), self._nodes) for kind in ("normal", "reduce")))
        make = partial(CellNetwork, cells, self.layout)
        told = "; ".join(f"{kind} {edges}" for kind, edges in kept.items())
        name = f"{self.layout.cells} cells of {self.layout.channels}, {told}"
        return self.piece(name, make, [(self.layout.image_channels, *shape)])

    def operation(self, name: str, place: Place, source: int, side: tuple[int, int]) -> Piece:
        """An operation on an edge."""
        halves = place.reduction and source < INPUTS
        make = partial(operation_module, name, place, source, self.layout)
        told = f"{name}/2" if halves else name
        return self.piece(told, make, [(place.channels, *side)])

    def around(self, place: Place, last: tuple[int, int]) -> list[Piece]:
        """The pieces of every cell: its inputs, the sums of its nodes and its output."""
        before = (2 * last[0], 2 * last[1]) if place.reduced else last
        inner = (last[0] // 2, last[1] // 2) if place.reduction else last
        inside = (place.channels, *inner)
        reads = partial(_CellInputs, place, self.layout)
        sums = KEPT - 1
        return [
            self.piece(
                f"inputs to {place.channels}", reads, [(place.before, *before), (place.last, *last)]
            ),
            self.piece("sum", partial(Applied, torch.add), [inside] * 2, sums * self._nodes),
            self.piece("concat", partial(Applied, _concat), [inside] * self._nodes),
        ]


def _concat(*states: Tensor) -> Tensor:
    return torch.cat(states, dim=1)


class _Stem(nn.Module):
    """The stem of a layout, images to both inputs of the first cell."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout, self.layers = layout, STEMS[layout.stem](layout)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The first cell's inputs."""
        return stem_states(self.layers, images, self.layout)


class _CellInputs(nn.Module):
    """The preprocessing of a cell's inputs."""

    def __init__(self, place: Place, layout: Layout) -> None:
        super().__init__()
        self.inputs = Inputs(place, layout.norm)

    def forward(self, before: Tensor, last: Tensor) -> list[Tensor]:
        """Both nodes."""
        states: list[Tensor] = self.inputs(before, last)
        return states


class _Classifier(nn.Module):
    """Global pooling and a linear map."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (n, classes)."""
        logits: Tensor = self.linear(features.mean(dim=(2, 3)))
        return logits
