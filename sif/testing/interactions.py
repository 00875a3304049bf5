"""Any space of interaction functions as a case for the suite of spaces."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from sif.core.gates import Gates
from sif.core.genotype import Genotype
from sif.spaces.interaction.batches import Drawing, InteractionStream, PartTensors
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.encoders import Histories
from sif.spaces.interaction.feature_vectors import FeatureSums
from sif.spaces.interaction.function import Design, Interaction, InteractionNetwork
from sif.spaces.interaction.losses import (
    WEIGHTINGS,
    Batch,
    LossKind,
    LossSettings,
    Weighting,
)
from sif.spaces.interaction.registry import LOSSES, SPACES
from sif.spaces.interaction.space_kind import SpaceContext, SpaceKind
from sif.testing.spaces import F64, SpaceCase, scatter

FIELDS, SIZES = ("user", "item", "hour"), (7, 6, 3)
ROWS = 18
"""Rows of each part, out of 42 pairs of users and items."""


def toy_part(part: str, loss: LossKind, fields: int = 2) -> PartTensors:
    """Rows of 7 users, 6 items and 3 hours, of which user 5 and item 0 have none in train.

    Args:
        part: "train" or "valid".
        loss: Says whether targets are ratings.
        fields: 2 or 3.

    Examples:
        >>> from sif.spaces.interaction.registry import LOSSES
        >>> from sif.testing import toy_part
        >>> len(toy_part("train", LOSSES["squared"]).ids)
        18
    """
    sizes = SIZES[:fields]
    every = torch.tensor(list(itertools.product(*map(range, sizes[:2]))))
    every = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(3))]
    known = ((every[:, 0] != 5) & (every[:, 1] != 0)).nonzero().flatten()[:ROWS]
    train = torch.zeros(len(every), dtype=torch.bool)
    train[known] = True
    ids = every[train if part == "train" else ~train][:ROWS]
    if fields == 3:
        ids = torch.cat([ids, torch.arange(ROWS)[:, None] % sizes[2]], dim=1)
    target = torch.sin(torch.arange(float(ROWS), dtype=F64) + (part == "valid"))
    rating = "rating" in loss.objectives
    age = torch.linspace(0, 1, ROWS, dtype=F64)
    return PartTensors(ids, target if rating else torch.ones_like(target), sizes, age)


def toy_batch(part: str, loss: LossKind, seed: int = 0, fields: int = 2) -> Batch:
    """The batch of a toy part with what a loss draws; equal for equal arguments.

    Examples:
        >>> from sif.spaces.interaction.registry import LOSSES
        >>> from sif.testing import toy_batch
        >>> tuple(toy_batch("train", LOSSES["squared"]).ids.shape)
        (18, 2)
    """
    draws, train = torch.Generator().manual_seed(seed), part == "train"
    known = () if train else (toy_part("train", loss, fields),)
    shared = SIZES[1] if loss.shared else 0
    drawing = Drawing(2 if loss.negatives else 0, 3 if loss.background else 0, shared)
    exact = train and loss.graph and fields == 2
    return InteractionStream(
        toy_part(part, loss, fields), ROWS, drawing, draws, known, ROWS, exact=exact,
        in_history=train,
    ).next()  # fmt: skip


@dataclass(frozen=True)
class InteractionCase(SpaceCase):
    """A space on toy data.

    What a weight step moves is taken to be tables and readout of the chosen function, and
    mixtures to run on the weights of the point; derive where a space is different.

    Attributes:
        kind: The space, or its name.
        loss: The loss, or its name.
        fields: 2 or 3.
        own_tables: True to have embeddings for each operation.
        stages: Stages that are searched; None: all of the space.
        settings: The space's own settings.
        loss_settings: Numbers of the loss; None: defaults.
        described: True to have features of users and items.
        name: For messages.

    Examples:
        >>> from sif.testing import SPACE_CHECKS, InteractionCase
        >>> SPACE_CHECKS[0](InteractionCase("sif"))
    """

    kind: SpaceKind | str
    loss: LossKind | str = "squared"
    fields: int = 2
    own_tables: bool = True
    stages: tuple[str, ...] | None = None
    settings: Any = None
    loss_settings: LossSettings | None = None
    name: str = "space"
    described: bool = False

    @property
    def space_kind(self) -> SpaceKind:
        """The space as it is registered."""
        return SPACES.named(self.kind) if isinstance(self.kind, str) else self.kind

    @property
    def loss_kind(self) -> LossKind:
        """The loss as it is registered."""
        return LOSSES.named(self.loss) if isinstance(self.loss, str) else self.loss

    @property
    def numbers(self) -> LossSettings:
        """Numbers of the loss: the given ones, or its own defaults."""
        if self.loss_settings is not None:
            return self.loss_settings
        model = self.loss_kind.settings
        return LossSettings(2.0, 2, own=None if model is None else model())

    def shape(self) -> TableShape:
        """The shape of the tables."""
        return TableShape(
            SIZES[: self.fields], 3, biases=True, intercept=True, init=0.7, history_l2=2.0
        )

    def histories(self) -> Histories:
        """The train part as encoders see it."""
        graph = toy_part("train", self.loss_kind).graph()
        assert graph is not None  # noqa: S101 (two fields)
        return Histories(graph, torch.zeros((), dtype=F64), 0.6)

    def features(self) -> tuple[FeatureSums, ...]:
        """Features of users and items, of which the first row of each has none."""
        found = []
        for size, count in zip(SIZES[:2] if self.described else (), (3, 4), strict=False):
            rows = torch.sin(torch.arange(1.0, size * count + 1, dtype=F64)).view(size, count)
            rows[0], rows[rows < 0] = 0.0, 0.0
            matrix = csr_matrix(rows.numpy())
            found.append(FeatureSums.of(matrix, torch.zeros((), dtype=F64)))
        return tuple(found)

    def context(self, seed: int = 0) -> SpaceContext:
        """The context that the toy data give a supernet."""
        sizes, part = SIZES[: self.fields], toy_part("train", self.loss_kind, self.fields)
        counts = [torch.bincount(part.ids[:, f], minlength=n).double() for f, n in enumerate(sizes)]
        stages = self.space_kind.stages if self.stages is None else self.stages
        described = self.features()
        rows = (*sizes, *(sums.shape[1] for sums in described))
        return SpaceContext(
            self.shape(), FIELDS[: self.fields], self.loss_kind, self.numbers,
            tuple(torch.linspace(0.01, 0.05, n, dtype=F64) for n in rows),
            {name: Weighting.of(name, counts, part.age) for name in WEIGHTINGS}, self.histories,
            _criterion,
            torch.Generator().manual_seed(seed), stages, self.own_tables, settings=self.settings,
            described=described,
        )  # fmt: skip

    def space(self, seed: int = 0) -> Any:
        """The supernet, with continuous parameters that genotypes hold exactly."""
        space: Any = self.space_kind.make(self.context(seed))
        scatter(space.double())
        with torch.no_grad():
            for parameter in space.arch_parameters():
                parameter.copy_(parameter.float())
        return space

    def batch(self, part: str, seed: int = 0) -> Batch:
        """All rows of a part."""
        return toy_batch(part, self.loss_kind, seed, self.fields)

    def read(self, genotype: Genotype) -> Design:
        """The design."""
        return self.space_kind.design(genotype, FIELDS[: self.fields])

    def moved(self, space: Any, gates: Gates) -> set[str]:
        """Tables and readout of the chosen function."""
        chosen = space.interaction(gates).chosen()
        used = {id(p) for p in (*chosen.tables.parameters(), chosen.readout) if p.requires_grad}
        return {name for name, p in space.named_parameters() if id(p) in used}

    def extracted(
        self, space: Any, gates: Gates, genotype: Genotype, batch: Batch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of all combinations."""
        design, draws = self.read(genotype), torch.Generator().manual_seed(9)
        histories = self.histories() if design.reads_pairs else None
        described = self.features()
        net = InteractionNetwork(design, self.shape(), draws, histories, described).double()
        chosen = space.interaction(gates).chosen()
        with torch.no_grad():
            for name in ("embeddings", "histories", "biases", "features"):
                ours, theirs = getattr(net.tables, name), getattr(chosen.tables, name)
                for mine, other in zip(ours, theirs, strict=False):
                    if mine.shape[-1]:  # a table that the encoding uses
                        mine.copy_(other)
            net.tables.intercept.copy_(chosen.tables.intercept)
            net.readout.copy_(chosen.readout)
        weighting = self.context().weightings[design.weighting]
        numbers = replace(self.numbers, weighting=weighting)
        every = torch.tensor(list(itertools.product(*map(range, SIZES[: self.fields]))))
        loss = self.loss_kind(net.interaction(), batch, numbers)
        return space.interaction(gates).pairs(every), net(every), loss


def _criterion(interaction: Interaction, batch: Batch) -> float:
    return float((interaction.pairs(batch.ids) - batch.target).abs().mean().detach())
