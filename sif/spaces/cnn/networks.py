"""Networks of cells: the layout that supernets share, and the networks of searched cells.

As in DARTS (Liu et al., ICLR 2019, appendix A.1 and A.2): a stem, cells of which those at a third
and two thirds of the depth halve the size and double the channels, global pooling, one linear map;
in training a second classifier after the second halving and dropped paths.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from sif.errors import ConfigError, ShapeError
from sif.spaces.cnn.cells import INPUTS, Cell, Cells
from sif.spaces.cnn.operations import (
    OPERATIONS,
    FactorizedReduce,
    Normalization,
    parameters,
    relu_conv,
)

NORM = Normalization()


@dataclass(frozen=True)
class Layout:
    """The outside of a network: what surrounds its cells.

    Attributes:
        classes: Number of classes.
        channels: Of the first cell's operations.
        cells: Number of cells.
        image_channels: Channels of the input.
        stem: Key of `STEMS`.
        stem_multiplier: Channels of the stem "small" over `channels`.
        norm: Normalization after every operation.
        normalized_pools: Whether poolings are followed by a normalization; in supernets.
        auxiliary: Key of `AUXILIARIES`, the second classifier of training; None: none.
    """

    classes: int
    channels: int
    cells: int
    image_channels: int = 3
    stem: str = "small"
    stem_multiplier: int = 3
    norm: Normalization = NORM
    normalized_pools: bool = False
    auxiliary: str | None = None


@dataclass(frozen=True)
class Place:
    """The place of a cell, from which its preprocessing and its operations follow.

    Attributes:
        before: Channels of the output two cells before.
        last: Channels of the output of the cell before.
        channels: Of this cell's operations.
        reduction: Whether this cell halves the size.
        reduced: Whether the cell before did, so that the output before that is twice as large.
    """

    before: int
    last: int
    channels: int
    reduction: bool
    reduced: bool

    @property
    def kind(self) -> str:
        """The cell at this place: "reduce" or "normal"."""
        return "reduce" if self.reduction else "normal"


def places(layout: Layout, outputs: dict[str, int]) -> list[Place]:
    """The cells of a network from the first to the last.

    Args:
        layout: The outside.
        outputs: "normal" and "reduce" to the number of nodes that such a cell concatenates.

    Raises:
        ConfigError: Fewer than three cells, in which the halvings have no place of their own.
    """
    if layout.cells < 3:
        raise ConfigError(f"cells: expected at least 3, found {layout.cells}")
    halving = {layout.cells // 3, 2 * layout.cells // 3}
    reduced, channels = layout.stem != "small", layout.channels
    before = last = channels if reduced else layout.stem_multiplier * channels
    result = []
    for number in range(layout.cells):
        reduction = number in halving
        channels *= 2 if reduction else 1
        place = Place(before, last, channels, reduction, reduced)
        result.append(place)
        before, last, reduced = last, channels * outputs[place.kind], reduction
    return result


class Inputs(nn.Module):
    """Brings the two inputs of a cell to its channels and to one size."""

    def __init__(self, place: Place, norm: Normalization) -> None:
        super().__init__()
        self.before: nn.Module = (
            FactorizedReduce(place.before, place.channels, norm)
            if place.reduced
            else relu_conv(place.before, place.channels, 1, 1, norm)
        )
        self.last = relu_conv(place.last, place.channels, 1, 1, norm)

    def forward(self, before: Tensor, last: Tensor) -> list[Tensor]:
        """The cell's nodes 0 and 1."""
        return [self.before(before), self.last(last)]


def operation_module(name: str, place: Place, source: int, layout: Layout) -> nn.Module:
    """An operation on an edge from a node; only edges from a cell's inputs halve the size."""
    operation = OPERATIONS[name]
    stride = 2 if place.reduction and source < INPUTS else 1
    module = operation.make(place.channels, stride, layout.norm)
    if operation.pooling and layout.normalized_pools:
        return nn.Sequential(module, layout.norm(place.channels))
    return module


def small_stem(layout: Layout) -> nn.ModuleList:
    """For images up to about 32 x 32: one convolution that keeps the size."""
    width = layout.stem_multiplier * layout.channels
    norm = replace(layout.norm, affine=True)
    conv = nn.Conv2d(layout.image_channels, width, 3, 1, 1, bias=False)
    return nn.ModuleList([nn.Sequential(conv, norm(width)), nn.Identity()])


def _stem_of_strides(layout: Layout, strides: tuple[int, int, int]) -> nn.ModuleList:
    """Three convolutions; the first cell's inputs are what comes before and after the last."""
    half, width = layout.channels // 2, layout.channels
    norm = replace(layout.norm, affine=True)
    first = nn.Sequential(
        nn.Conv2d(layout.image_channels, half, 3, strides[0], 1, bias=False),
        norm(half),
        nn.ReLU(),
        nn.Conv2d(half, width, 3, strides[1], 1, bias=False),
        norm(width),
    )
    second = nn.Sequential(
        nn.ReLU(), nn.Conv2d(width, width, 3, strides[2], 1, bias=False), norm(width)
    )
    return nn.ModuleList([first, second])


STEMS = {
    "small": small_stem,
    "imagenet": lambda layout: _stem_of_strides(layout, (2, 2, 2)),
    "tiny-imagenet": lambda layout: _stem_of_strides(layout, (1, 1, 2)),
}
"""imagenet: 224 to 56 and 28 (DARTS). tiny-imagenet: 64 to 64 and 32 (model.py of NASP-codes)."""


HALVINGS = {"small": 4, "tiny-imagenet": 8, "imagenet": 32}
"""Factor by which stem and cells together divide the sides of an image."""

AUXILIARIES = {"cifar": (3, True), "imagenet": (2, False)}
"""Stride of the pooling, which leaves 2 x 2 of 8 x 8 (CIFAR) and of 7 x 7 (ImageNet), and whether
the second normalization is there; it is missing on ImageNet in the published code (model.py of
DARTS), and so it is here, for the numbers' sake."""


class Auxiliary(nn.Module):
    """The second classifier, of a kind in `AUXILIARIES`."""

    def __init__(self, channels: int, classes: int, kind: str) -> None:
        super().__init__()
        stride, second = AUXILIARIES[kind]
        norm: list[nn.Module] = [nn.BatchNorm2d(768)] if second else []
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, stride, count_include_pad=False),
            nn.Conv2d(channels, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False), *norm, nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w), h and w at least 5 plus the stride, to logits (n, classes)."""
        return cast(Tensor, self.classifier(self.features(x)))


class FixedCell(nn.Module):
    """A cell with its operations chosen, where it stands in a network."""

    def __init__(self, cell: Cell, place: Place, layout: Layout) -> None:
        super().__init__()
        self.cell = cell
        self.inputs = Inputs(place, layout.norm)
        self.nodes = nn.ModuleList(
            nn.ModuleList(operation_module(name, place, source, layout) for name, source in edges)
            for edges in cell.nodes
        )

    def forward(
        self, before: Tensor, last: Tensor, drop: float, draws: torch.Generator | None = None
    ) -> Tensor:
        """Outputs of the two cells before to this cell's; `drop`: chance to drop an edge."""
        states = self.inputs(before, last)
        for edges, modules in zip(self.cell.nodes, self.nodes, strict=True):
            terms = []
            for (_, source), module in zip(edges, cast(nn.ModuleList, modules), strict=True):
                term = module(states[source])
                if drop and self.training and not isinstance(module, nn.Identity):
                    term = drop_path(term, drop, draws)
                terms.append(term)
            states.append(torch.stack(terms).sum(0) if len(terms) > 2 else sum(terms[1:], terms[0]))
        return torch.cat([states[node] for node in self.cell.concat], dim=1)


def drop_path(x: Tensor, drop: float, draws: torch.Generator | None = None) -> Tensor:
    """Zeroes whole images of x with probability `drop`; the mean stays (Larsson et al., 2017)."""
    keep = torch.empty(len(x), 1, 1, 1, device=x.device, dtype=x.dtype)
    keep.bernoulli_(1 - drop, generator=draws)
    return x * (keep / (1 - drop))


class CellNetwork(nn.Module):
    """A classifier of images (n, channels, h, w) built from two cells.

    Args:
        cells: The normal and the reduction cell.
        layout: The outside.

    Attributes:
        drop: Chance to drop an edge in training; a schedule may change it.
        draws: Generator that drops edges, on the network's device; None: torch's own.

    Raises:
        ConfigError: A layout that has no such network.
    """

    def __init__(self, cells: Cells, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.drop = 0.0
        self.draws: torch.Generator | None = None
        outputs = {"normal": len(cells.normal.concat), "reduce": len(cells.reduce.concat)}
        spots = places(layout, outputs)
        self.stem = STEMS[layout.stem](layout)
        self.cells = nn.ModuleList(
            FixedCell(cells.reduce if p.reduction else cells.normal, p, layout) for p in spots
        )
        widths = [p.channels * outputs[p.kind] for p in spots]
        self._read_at = 2 * layout.cells // 3
        self.auxiliary = (
            Auxiliary(widths[self._read_at], layout.classes, layout.auxiliary)
            if layout.auxiliary
            else None
        )
        self.classifier = nn.Linear(widths[-1], layout.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes)."""
        return self.logits(images)[0]

    def logits(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits (n, classes), and in training those of the auxiliary classifier if there is one.

        Raises:
            ShapeError: Images that the network cannot halve as often as it needs to.
        """
        features = torch.empty(0)
        states = stem_states(self.stem, images, self.layout)
        second = None
        for number, cell in enumerate(self.cells):
            features = cell(*states, self.drop, self.draws)
            states = (states[1], features)
            if number == self._read_at and self.auxiliary is not None and self.training:
                second = self.auxiliary(features)
        return self.classifier(features.mean(dim=(2, 3))), second

    def counted(self) -> int:
        """Trainable values without the auxiliary classifier, as the field counts them."""
        second = 0 if self.auxiliary is None else parameters(self.auxiliary)
        return parameters(self) - second


def stem_states(stem: nn.ModuleList, images: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """The two inputs of the first cell.

    Raises:
        ShapeError: Not images of the layout's channels whose sides the halvings divide.
    """
    halvings = HALVINGS[layout.stem]
    legal = images.dim() == 4 and images.shape[1] == layout.image_channels
    if not legal or any(side % halvings for side in images.shape[2:]):
        raise ShapeError(
            f"images: expected (n, {layout.image_channels}, h, w) with h and w multiples of "
            f"{halvings}, found {tuple(images.shape)}"
        )
    first = stem[0](images)
    return first, stem[1](first)
