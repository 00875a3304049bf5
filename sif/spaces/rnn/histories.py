"""Recommenders that read a user's items in their order by a recurrent cell, and their supernet.

A history is a text whose words are items: embeddings, cells and masks are those of language models
(`sif.spaces.rnn.networks`). The product of a state with the embedding of an item is its score, and
the loss is that of the next item at every place. Histories begin with a state of zeros and are
padded at their end, where no later place is left to see it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from sif.core.gates import Gates
from sif.spaces.rnn.catalog_loss import NONE, CatalogLoss
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
from sif.spaces.rnn.supercell import RecurrentSpace

PUBLISHED: Mapping[str, MakeRecurrence] = {"gru": GRURecurrence, "lstm": LSTMRecurrence}
"""Recurrences that are not searched (GRU4Rec; Hidasi et al., ICLR 2016)."""


@dataclass(frozen=True, eq=False)
class HistoryBatch:
    """Histories side by side, the earliest item first.

    Attributes:
        inputs: (steps, batch) int64 items; any where a history has ended.
        targets: (steps, batch) the items that follow; `NONE` where a history has ended.
        seed: Of dropout and of the drawn items.
    """

    inputs: Tensor
    targets: Tensor
    seed: int

    @classmethod
    def of(cls, histories: Tensor, seed: int) -> HistoryBatch:
        """A batch of histories (1 + steps, batch), padded with `NONE` at their end."""
        return cls(histories[:-1].clamp(min=0), histories[1:], seed)


class HistoryModel(nn.Module):
    """Embeddings of items, something recurrent, and scores by the same embeddings.

    Args:
        shape: Its vocabulary is the catalog.
        recurrence: As of a `LanguageModel`.
    """

    def __init__(self, shape: TextShape, recurrence: nn.Module) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.hidden)
        nn.init.uniform_(self.embedding.weight, -EMBEDDING_INIT, EMBEDDING_INIT)
        self.bias = nn.Parameter(torch.zeros(shape.vocabulary))
        self.recurrence = recurrence

    def forward(self, items: Tensor, masks: Masks | None = None) -> Tensor:
        """States (steps, batch, hidden) behind each of the items (steps, batch)."""
        masks = Masks() if masks is None else masks
        x = embedded(self.embedding.weight, items, masks)
        outputs, _ = self.recurrence(x, None, masks)
        return masked(cast(Tensor, outputs), masks.output)

    def loss(self, batch: HistoryBatch, chances: Mapping[str, float], by: CatalogLoss) -> Tensor:
        """Mean nats of the next items, under dropout.

        Args:
            batch: Of histories.
            chances: Name of each of `Masks` to the chance to drop.
            by: The loss.
        """
        columns = batch.inputs.shape[1]
        masks = draw_masks(chances, self.shape, columns, self.bias, batch.seed)
        states = self(batch.inputs, masks)
        return by(states, batch.targets, self.embedding.weight, self.bias, batch.seed)

    @torch.no_grad()
    def last_states(self, histories: Tensor) -> Tensor:
        """States (batch, hidden) behind the last items of histories, zeros behind none.

        Args:
            histories: (steps, batch) int64, padded with `NONE` at their end.
        """
        lengths = (histories != NONE).sum(0)
        places = (lengths - 1).clamp(min=0)
        states: Tensor = self(histories.clamp(min=0))
        last = states[places, torch.arange(len(lengths), device=states.device)]
        return last * (lengths > 0)[:, None]

    @torch.no_grad()
    def scores(self, states: Tensor) -> Tensor:
        """Scores (batch, items) of states (batch, hidden)."""
        return torch.addmm(self.bias, states, self.embedding.weight.t())

    def counted(self) -> int:
        """Number of trainable values."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


class HistorySpace(RecurrentSpace):
    """The supernet. No state is normalized over a batch, so that padding changes nothing.

    Args:
        shape: Of the model.
        dropout: Name of each of `Masks` to the search's chance to drop.
        by: The loss.
    """

    def __init__(self, shape: TextShape, dropout: Mapping[str, float], by: CatalogLoss) -> None:
        super().__init__(shape, normalized=False)
        self.dropout, self.by = dropout, by
        self.model = HistoryModel(shape, fresh_weights(shape, shape.nodes))

    @property
    def cell_weights(self) -> CellWeights:
        """The matrices of all nodes."""
        return cast(CellWeights, self.model.recurrence)

    def loss(self, batch: HistoryBatch, gates: Gates) -> Tensor:
        """Mean nats of the next items under the gates."""
        columns, model = batch.inputs.shape[1], self.model
        masks = draw_masks(self.dropout, self.shape, columns, model.bias, batch.seed)
        x = masked(embedded(model.embedding.weight, batch.inputs, masks), masks.input)
        start = x.new_zeros(columns, self.shape.hidden)
        outputs = masked(self.outputs(x, start, masks.hidden, gates), masks.output)
        return self.by(outputs, batch.targets, model.embedding.weight, model.bias, batch.seed)

    def extract(self, gates: Gates) -> HistoryModel:
        """The model of the selection with copies of the supernet's weights."""
        recurrence = CellRecurrence(self.shape, self.cell(gates))
        recurrence.weights.load_state_dict(self.cell_weights.state_dict())
        model = HistoryModel(self.shape, recurrence).to(self.reference_tensor())
        model.embedding.load_state_dict(self.model.embedding.state_dict())
        with torch.no_grad():
            model.bias.copy_(self.model.bias)
        return model


def history_model(shape: TextShape, design: RecurrentCell | str) -> HistoryModel:
    """An untrained model of a cell, or of a key of `PUBLISHED`."""
    if isinstance(design, str):
        return HistoryModel(shape, PUBLISHED[design](shape))
    recurrence = CellRecurrence(shape, design)
    recurrence.weights = fresh_weights(shape, len(design.nodes))
    return HistoryModel(shape, recurrence)


def fresh_weights(shape: TextShape, nodes: int) -> CellWeights:
    """Matrices with first weights that suit their width, as those of torch's GRU do."""
    weights = CellWeights(shape, nodes)
    for matrix in weights.parameters():
        nn.init.uniform_(matrix, -1 / math.sqrt(shape.hidden), 1 / math.sqrt(shape.hidden))
    return weights
