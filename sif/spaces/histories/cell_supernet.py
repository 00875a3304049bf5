"""The supernet of recurrent cells that read histories; the cell is that of language models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from sif.core.gates import Gates
from sif.spaces.histories.catalog_loss import CatalogLoss
from sif.spaces.histories.models import (
    HistoryBatch,
    HistoryModel,
    RecurrentReader,
    fresh_weights,
)
from sif.spaces.rnn.dropout import TextShape, draw_masks, masked
from sif.spaces.rnn.networks import CellRecurrence, CellWeights, embedded
from sif.spaces.rnn.supercell import RecurrentSpace


class CellHistorySpace(RecurrentSpace):
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
        return cast(CellWeights, self.model.reader)

    def loss(self, batch: HistoryBatch, gates: Gates) -> Tensor:
        """The mean loss of the next items under the gates."""
        columns, model = batch.inputs.shape[1], self.model
        masks = draw_masks(self.dropout, self.shape, columns, model.bias, batch.seed)
        x = masked(embedded(model.embedding.weight, batch.inputs, masks), masks.input)
        start = x.new_zeros(columns, self.shape.hidden)
        outputs = masked(self.outputs(x, start, masks.hidden, gates), masks.output)
        known, table = batch.known(outputs), model.embedding.weight
        return self.by(known, batch.targets, table, model.bias, batch.seed)

    def extract(self, gates: Gates) -> HistoryModel:
        """The model of the selection with copies of the supernet's weights."""
        recurrence = CellRecurrence(self.shape, self.cell(gates))
        recurrence.weights.load_state_dict(self.cell_weights.state_dict())
        model = HistoryModel(self.shape, RecurrentReader(recurrence)).to(self.reference_tensor())
        model.embedding.load_state_dict(self.model.embedding.state_dict())
        with torch.no_grad():
            model.bias.copy_(self.model.bias)
        return model
