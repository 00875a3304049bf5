"""Recommenders that read a user's items in their order.

A reader turns the items into a state behind each of them: decayed sums (`scales`), or a recurrent
cell, to which a history is a text whose words are items (`sif.spaces.rnn.networks`). An operation
of a state and an item's embedding is the item's score; the loss is that of the next item at every
place, so that nothing is predicted from itself or from later. Histories are padded at their end,
where no later place is left to see it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from sif.spaces.histories.catalog_loss import NONE, CatalogLoss
from sif.spaces.histories.scales import ScalesDesign, ScalesReader
from sif.spaces.histories.scoring import PRODUCT, Scoring, first_readout
from sif.spaces.interaction.operations import OPERATIONS, Operation
from sif.spaces.rnn.cells import RecurrentCell
from sif.spaces.rnn.dropout import Masks, TextShape, draw_masks, masked
from sif.spaces.rnn.networks import (
    EMBEDDING_INIT,
    CellRecurrence,
    CellWeights,
    GRURecurrence,
    LSTMRecurrence,
    MakeRecurrence,
    embedded,
)

CPU = torch.device("cpu")
HistoryDesign = RecurrentCell | ScalesDesign | str
"""A cell, decayed sums, or one of `PUBLISHED`."""
PUBLISHED: Mapping[str, MakeRecurrence] = {"gru": GRURecurrence, "lstm": LSTMRecurrence}
"""Recurrences that are not searched (GRU4Rec; Hidasi et al., ICLR 2016)."""


@dataclass(frozen=True, eq=False)
class HistoryBatch:
    """Histories side by side, the earliest item first.

    Attributes:
        inputs: (steps, batch) int64 items; any where a history has ended.
        places: (n,) int64 places in a flat (steps, batch) that have a next item.
        targets: (n,) int64 that item.
        seed: Of dropout and of the drawn items.
    """

    inputs: Tensor
    places: Tensor
    targets: Tensor
    seed: int

    @classmethod
    def of(cls, histories: Tensor, seed: int, device: torch.device = CPU) -> HistoryBatch:
        """A batch of histories.

        Args:
            histories: (1 + steps, batch) int64 on the CPU, padded with `NONE` at their end.
            seed: Of dropout and of the drawn items.
            device: Of the batch. Places are counted before: a device would have to be waited for.
        """
        after = histories[1:].flatten()
        places = (after != NONE).nonzero()[:, 0]
        inputs, places, targets = (
            part.to(device, non_blocking=True)
            for part in (histories[:-1].clamp(min=0), places, after[places])
        )
        return cls(inputs, places, targets, seed)

    def known(self, states: Tensor) -> Tensor:
        """States (n, hidden) of the places with a next item, of all (steps, batch, hidden)."""
        return states.flatten(0, 1)[self.places]


class RecurrentReader(nn.Module):
    """Something recurrent over the embeddings by which items are scored.

    Args:
        recurrence: As of a `LanguageModel`; begins with a state of zeros.
    """

    def __init__(self, recurrence: nn.Module) -> None:
        super().__init__()
        self.recurrence = recurrence

    def forward(self, items: Tensor, table: Tensor, masks: Masks) -> Tensor:
        """States (steps, batch, hidden) behind items (steps, batch), of a table (items, hidden)."""
        outputs, _ = self.recurrence(embedded(table, items, masks), None, masks)
        return cast(Tensor, outputs)


class HistoryModel(nn.Module):
    """A reader, embeddings of items, and scores by an operation of both.

    Args:
        shape: Its vocabulary is the catalog.
        reader: Called with items, embeddings and masks; gives states.
        operation: Of a state and an item, with a readout to learn; None: the plain product.
    """

    def __init__(
        self, shape: TextShape, reader: nn.Module, operation: Operation | None = None
    ) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.hidden)
        nn.init.uniform_(self.embedding.weight, -EMBEDDING_INIT, EMBEDDING_INIT)
        self.bias = nn.Parameter(torch.zeros(shape.vocabulary))
        self.reader = reader
        self.operation, self.readout = operation, None
        if operation is not None:
            self.readout = nn.Parameter(first_readout(operation, shape.hidden))

    @property
    def scoring(self) -> Scoring:
        """The function of a state and an item, without the item's bias."""
        return PRODUCT if self.operation is None else Scoring(self.operation, self.readout)

    def forward(self, items: Tensor, masks: Masks | None = None) -> Tensor:
        """States (steps, batch, hidden) behind each of the items (steps, batch)."""
        masks = Masks() if masks is None else masks
        return masked(self.reader(items, self.embedding.weight, masks), masks.output)

    def loss(self, batch: HistoryBatch, chances: Mapping[str, float], by: CatalogLoss) -> Tensor:
        """The mean loss of the next items, under dropout.

        Args:
            batch: Of histories.
            chances: Name of each of `Masks` to the chance to drop.
            by: The loss.
        """
        columns = batch.inputs.shape[1]
        masks = draw_masks(chances, self.shape, columns, self.bias, batch.seed)
        states = self(batch.inputs, masks)
        table = self.embedding.weight
        known = batch.known(states)
        return by(known, batch.targets, table, self.bias, batch.seed, self.scoring)

    @torch.no_grad()
    def last_states(self, histories: Tensor) -> Tensor:
        """States (batch, hidden) behind the last items of histories, zeros behind none.

        Args:
            histories: (steps, batch) int64, padded with `NONE` at their end.
        """
        lengths = (histories != NONE).sum(0)
        places = (lengths - 1).clamp(min=0)
        states: Tensor = self(histories.clamp(min=0))
        last = states[places, torch.arange(lengths.shape[0], device=states.device)]
        return last * (lengths > 0)[:, None]

    @torch.no_grad()
    def scores(self, states: Tensor) -> Tensor:
        """Scores (batch, items) of states (batch, hidden)."""
        return self.scoring.grid(states, self.embedding.weight).add_(self.bias)

    def counted(self) -> int:
        """Number of trainable values."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def history_model(shape: TextShape, design: HistoryDesign) -> HistoryModel:
    """An untrained model of a design."""
    if isinstance(design, str):
        return HistoryModel(shape, RecurrentReader(PUBLISHED[design](shape)))
    if isinstance(design, ScalesDesign):
        return HistoryModel(shape, ScalesReader(shape, design), OPERATIONS[design.outer])
    recurrence = CellRecurrence(shape, design)
    recurrence.weights = fresh_weights(shape, len(design.nodes))
    return HistoryModel(shape, RecurrentReader(recurrence))


def fresh_weights(shape: TextShape, nodes: int) -> CellWeights:
    """Matrices with first weights that suit their width, as those of torch's GRU do."""
    weights = CellWeights(shape, nodes)
    for matrix in weights.parameters():
        nn.init.uniform_(matrix, -1 / math.sqrt(shape.hidden), 1 / math.sqrt(shape.hidden))
    return weights
