"""Cases of step_cost.py: supernets with a batch of their own, each as its search trains it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sif.config.rnn import RecurrentSearchConfig
from sif.core.gates import Gates
from sif.core.proximal import project
from sif.core.space import Batch, Space
from sif.data.text.stream import Carry
from sif.problems.text import OPTIMIZERS
from sif.spaces.cnn import cells
from sif.spaces.cnn.cells import PUBLISHED
from sif.spaces.cnn.networks import Layout
from sif.spaces.cnn.supernet import SPECS, CNNSpace, ImageBatch
from sif.spaces.rnn import cells as rnn_cells
from sif.spaces.rnn.dropout import TextShape
from sif.spaces.rnn.supercell import BLOCK, SPACE
from sif.spaces.rnn.supernet import RNNSpace, TextBatch

Sizes = Mapping[str, int]
Optimizer = Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True, eq=False)
class Case:
    """A supernet and what its search does with it.

    Attributes:
        space: The supernet.
        batch: Makes the batch, anew for every step.
        optimizer: Makes the weights' optimizer.
        max_norm: Bound on the gradient's norm.
        published: Name and gates of a published cell.
    """

    space: Space
    batch: Callable[[], Batch]
    optimizer: Optimizer
    max_norm: float
    published: tuple[str, Gates]

    def uniform(self, draws: torch.Generator) -> Gates:
        """A uniform selection."""
        alpha = {b.name: torch.rand(b.shape, generator=draws) for b in self.space.blocks}
        return project(alpha, self.space.blocks)


@dataclass(frozen=True)
class Kind:
    """Cases of one task.

    Attributes:
        sizes: Settings and their defaults.
        parts: What is measured, and the sizes that this changes.
        make: (space's name, sizes, device) to the case.
    """

    sizes: Sizes
    parts: Mapping[str, Sizes]
    make: Callable[[str, Sizes, str], Case]


def image_case(name: str, sizes: Sizes, device: str) -> Case:
    """Images of CIFAR's size; the optimizer is that of DARTS' search there."""
    torch.manual_seed(0)
    made = CNNSpace(name, Layout(classes=10, channels=sizes["channels"], cells=sizes["cells"]))
    space = made.to(device, memory_format=torch.channels_last)
    images = torch.randn(sizes["batch"], 3, 32, 32).to(memory_format=torch.channels_last)
    batch = ImageBatch(images.to(device), torch.randint(10, (sizes["batch"],)).to(device))
    published = {"nasp-7op": "darts-v2", "nasp-12op": "nasp"}[name]
    edges = list(zip(cells.edge_nodes(4), cells.edge_sources(4), strict=True))
    chosen = {
        block.name: [
            (edges.index((node, source)), operation)
            for node, kept in enumerate(getattr(PUBLISHED[published], block.name).nodes)
            for operation, source in kept
        ]
        for block in space.blocks
    }
    return Case(
        space, lambda: batch,
        lambda weights: torch.optim.SGD(weights, 0.025, momentum=0.9, weight_decay=3e-4), 5.0,
        (published, gates_at(space, chosen)),
    )  # fmt: skip


def text_case(name: str, sizes: Sizes, device: str) -> Case:
    """Words drawn uniformly, with the published settings of a search on Penn Treebank."""
    torch.manual_seed(0)
    published, settings = "darts-v2", RecurrentSearchConfig()
    shape = TextShape(sizes["vocabulary"], sizes["hidden"], settings.nodes)
    space = RNNSpace(shape, dict(settings.dropout)).to(device)
    words = torch.randint(shape.vocabulary, (sizes["bptt"] + 1, sizes["batch"])).to(device)
    start = torch.zeros(sizes["batch"], shape.hidden, device=device)
    edges = list(zip(rnn_cells.edge_nodes(8), rnn_cells.edge_sources(8), strict=True))
    nodes = rnn_cells.PUBLISHED[published].nodes
    chosen = [(edges.index((node, read)), kind) for node, (kind, read) in enumerate(nodes)]
    make = OPTIMIZERS[settings.optimizer](settings.weight_decay)
    return Case(
        space, lambda: TextBatch(words[:-1], words[1:], Carry(), start, 0),
        lambda weights: make(list(weights), settings.lr), settings.max_norm,
        (published, gates_at(space, {BLOCK: chosen})),
    )  # fmt: skip


def gates_at(space: Space, chosen: Mapping[str, Sequence[tuple[int, str]]]) -> Gates:
    """The gates that choose (edge, operation) pairs."""
    alpha = {b.name: torch.zeros(b.shape, dtype=torch.float64) for b in space.blocks}
    for block in space.blocks:
        for edge, operation in chosen[block.name]:
            alpha[block.name][edge, block.operations.index(operation)] = 1
    return project(alpha, space.blocks)


IMAGES = Kind({"batch": 16, "channels": 16, "cells": 8}, {"whole": {}}, image_case)
TEXT = Kind(
    {"batch": 64, "bptt": 35, "hidden": 300, "vocabulary": 10_000},
    # The decoder, which is the same for all methods, takes next to nothing for ten words.
    {"whole": {}, "cell alone": {"vocabulary": 10}}, text_case,
)  # fmt: skip
KINDS: dict[str, Kind] = {**dict.fromkeys(SPECS, IMAGES), SPACE: TEXT}
"""By the space's name."""
SETTINGS: tuple[str, ...] = tuple(dict.fromkeys(s for kind in KINDS.values() for s in kind.sizes))
"""All names of sizes."""


def sizes_of(space: str, given: Mapping[str, Any]) -> dict[str, int]:
    """The sizes of a space, where none are given (None) its defaults.

    Raises:
        SystemExit: A size that the space does not have.
    """
    known = KINDS[space].sizes
    for name in SETTINGS:
        if given[name] is not None and name not in known:
            raise SystemExit(f"{space}: expected sizes {', '.join(known)}, found {name}")
    return {
        name: default if given[name] is None else given[name] for name, default in known.items()
    }
