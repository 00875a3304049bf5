"""The space of language models with recurrent cells; the supernet's cell is in `supercell`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sif.core.gates import Gates
from sif.core.genotype import Genotype, check_names
from sif.spaces.rnn.cells import ACTIVATIONS, RecurrentCell, cell_of, expression
from sif.spaces.rnn.dropout import TextShape, draw_masks, masked
from sif.spaces.rnn.networks import (
    CellRecurrence,
    CellWeights,
    LanguageModel,
    cross_entropy,
    embedded,
)
from sif.spaces.rnn.supercell import BLOCK, SPACE, RecurrentSpace
from sif.utils.device import lowered

REWARD, WORST = 80.0, 10.0
"""Reward at perplexity 1, and the loss from which on it falls no more (Pham et al., ICML 2018,
section 3.1, and ptb_enas_controller.py of melodyguan/enas)."""


@dataclass(frozen=True, eq=False)
class TextBatch:
    """A window of some columns of a text.

    Attributes:
        inputs: (steps, batch) int64 ids of words.
        targets: (steps, batch) the words that follow.
        carry: Object whose `value` is the state before the window, None at the beginning of a text;
            the space puts the state behind the window there.
        start: The state before the window, (batch, hidden) or None.
        seed: Of the window's dropout.
    """

    inputs: Tensor
    targets: Tensor
    carry: Any
    start: Tensor | None
    seed: int


def window_loss(
    model: LanguageModel, batch: TextBatch, dropout: Mapping[str, float], precision: str,
    read: Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]],
) -> Tensor:  # fmt: skip
    """Mean nats per word of a window, by a supernet's cell; moves the batch's state on.

    Args:
        model: Of the supernet; gives embeddings and decoder.
        batch: The window.
        dropout: Name of each of `sif.spaces.rnn.dropout.Masks` to its chance to drop.
        precision: Of matrix products.
        read: Outputs of the cell and its state behind them, of its inputs and of the mask of its
            states.
    """
    columns, table = batch.inputs.shape[1], model.embedding.weight
    masks = draw_masks(dropout, model.shape, columns, table, batch.seed)
    x = masked(embedded(table, batch.inputs, masks), masks.input)
    with lowered(precision, x.device):
        outputs, state = read(x, masks.hidden)
        logits = F.linear(masked(outputs, masks.output), table, model.bias)
    batch.carry.value = state.detach()
    return cross_entropy(logits.to(outputs), batch.targets)


def with_reward(loss: Tensor) -> tuple[Tensor, Tensor]:
    """A loss, and the reward of ENAS for it."""
    return loss, REWARD / loss.clamp(max=WORST).exp()


def with_words_of(model: LanguageModel, recurrence: nn.Module) -> LanguageModel:
    """A model with another recurrence, and copies of the embeddings and the decoder's bias."""
    made = LanguageModel(model.shape, recurrence).to(model.bias)
    made.embedding.load_state_dict(model.embedding.state_dict())
    with torch.no_grad():
        made.bias.copy_(model.bias)
    return made


class RNNSpace(RecurrentSpace):
    """The supernet.

    Args:
        shape: Of the model.
        dropout: Name of each of `sif.spaces.rnn.dropout.Masks` to the search's chance to drop.
        normalized: As in `RecurrentSpace`.
        precision: Of matrix products, "bfloat16" or "float32"; states and weights keep their own.
    """

    def __init__(
        self, shape: TextShape, dropout: Mapping[str, float], normalized: bool = True,
        precision: str = "float32",
    ) -> None:  # fmt: skip
        super().__init__(shape, normalized)
        self.dropout, self.precision = dropout, precision
        self.model = LanguageModel(shape, CellWeights(shape, shape.nodes))

    @property
    def cell_weights(self) -> CellWeights:
        """The matrices of all nodes."""
        return cast(CellWeights, self.model.recurrence)

    def loss(self, batch: TextBatch, gates: Gates) -> Tensor:
        """Mean nats per word of a window under the gates; moves the batch's state on."""

        def read(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
            columns = x.shape[1]
            start = x.new_zeros(columns, self.shape.hidden) if batch.start is None else batch.start
            outputs = self.outputs(x, start, mask, gates)
            return outputs, outputs[-1]

        return window_loss(self.model, batch, self.dropout, self.precision, read)

    def rewarded(self, batch: TextBatch, gates: Gates) -> tuple[Tensor, Tensor]:
        """Loss of a window, and 80 / its perplexity, the reward of ENAS."""
        return with_reward(self.loss(batch, gates))

    def extract(self, gates: Gates) -> LanguageModel:
        """The language model of the selection with copies of the supernet's weights.

        Normalizations, if there are, keep running statistics there, which have to be estimated
        before it evaluates.
        """
        recurrence = CellRecurrence(self.shape, self.cell(gates), self.norms is not None)
        recurrence.to(self.reference_tensor())  # copies keep the precision of these weights
        recurrence.weights.load_state_dict(self.cell_weights.state_dict())
        return with_words_of(self.model, recurrence)


def recurrent_cell(genotype: Genotype) -> RecurrentCell:
    """The cell of a searched genotype.

    Raises:
        GenotypeError: Of another space, or an edge or activation that the space does not have.
    """
    check_names(genotype, SPACE, {BLOCK: tuple(ACTIVATIONS)})
    return cell_of(genotype.blocks[BLOCK], len(genotype.blocks[BLOCK]))


def notation(genotype: Genotype) -> str:
    """The cell of a genotype on one line."""
    return expression(recurrent_cell(genotype))
