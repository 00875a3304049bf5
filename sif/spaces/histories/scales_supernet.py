"""The supernet of decayed sums: decays of each time scale, the inner and the outer operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from sif.core.gates import Block, Gates, Selection
from sif.core.probe import Candidate, gated_output, replacement_scores
from sif.spaces.cell_space import CellSpace
from sif.spaces.histories.catalog_loss import CatalogLoss
from sif.spaces.histories.models import HistoryBatch, HistoryModel
from sif.spaces.histories.scales import (
    ALWAYS,
    BLOCKS,
    INNER,
    NAME,
    ORDER,
    OUTER,
    ScalesReader,
    ScaleTables,
    decayed,
    scales_design,
)
from sif.spaces.histories.scoring import Scoring, first_readout
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.linear.design import NONE as NO_SCALE
from sif.spaces.linear.design import decay_of
from sif.spaces.rnn.dropout import Masks, TextShape, draw_masks, masked


class ScalesSpace(CellSpace):
    """The supernet. Decays of a scale share its embeddings; outer operations have own readouts.

    Args:
        shape: Of the model.
        dropout: Name of each of `Masks` to the search's chance to drop.
        by: The loss; drawn items are as few for products as for other operations.
    """

    name = NAME
    blocks: tuple[Block, ...] = BLOCKS

    def __init__(self, shape: TextShape, dropout: Mapping[str, float], by: CatalogLoss) -> None:
        super().__init__()
        self.shape, self.dropout, self.by = shape, dropout, by.with_fewer()
        self.model = HistoryModel(shape, ScaleTables(shape, ORDER))
        self.readouts = nn.ParameterDict(
            {name: nn.Parameter(first_readout(o, shape.hidden)) for name, o in OPERATIONS.items()}
        )

    def loss(self, batch: HistoryBatch, gates: Gates) -> Tensor:
        """The mean loss of the next items under the gates."""
        columns, bias = batch.inputs.shape[1], self.model.bias
        return self._under(
            draw_masks(self.dropout, self.shape, columns, bias, batch.seed), batch, gates
        )

    def _under(self, masks: Masks, batch: HistoryBatch, gates: Gates) -> Tensor:
        """The loss under dropout."""
        states = masked(self._states(batch.inputs, masks, gates), masks.output)
        return self._loss(batch.known(states), batch.targets, batch.seed, gates)

    def _loss(self, states: Tensor, targets: Tensor, seed: int, gates: Gates) -> Tensor:
        """Of places (n,), whose scores all operations have of the same drawn items."""
        table, bias = self.model.embedding.weight, self.model.bias
        drawn = self.by.drawn(self.by.samples, seed, targets.device)

        def scores(operation: str) -> Tensor:
            scoring = Scoring(OPERATIONS[operation], self.readouts[operation])
            own = scoring.pairs(states, table[targets])
            return torch.cat([own[:, None], scoring.grid(states, table[drawn.items])], dim=1)

        candidates = [partial(scores, name) for name in self._names(OUTER)]
        found = _gated(OUTER, gates, candidates)
        own, others = found[:, 0] + bias[targets], found[:, 1:] + bias[drawn.items]
        return self.by.of_scores(own, others, targets, drawn)

    def _states(self, items: Tensor, masks: Masks, gates: Gates) -> Tensor:
        """The joined states (steps, batch, hidden) under the gates."""
        tables = self.model.reader
        assert isinstance(tables, ScaleTables)  # noqa: S101

        def state(scale: str, decay: str) -> Tensor:
            found = decay_of(decay)
            assert found is not None  # noqa: S101
            return decayed(tables.embedded(scale, items, masks), found)

        def with_scale(before: Tensor, scale: str, decay: str) -> Tensor:
            if decay == NO_SCALE:
                return before
            other = state(scale, decay)
            operations = [OPERATIONS[name] for name in self._names(INNER)]
            joined = [partial(o.combine, [before, other]) for o in operations]
            return _gated(INNER, gates, joined)

        total = _gated(ALWAYS, gates, [partial(state, ALWAYS, k) for k in self._names(ALWAYS)])
        for scale in ORDER[1:]:
            candidates = [partial(with_scale, total, scale, k) for k in self._names(scale)]
            total = _gated(scale, gates, candidates)
        return total

    def _names(self, block: str) -> tuple[str, ...]:
        return next(one.operations for one in self.blocks if one.name == block)

    @torch.no_grad()
    def replacement_scores(
        self, train: HistoryBatch, valid: HistoryBatch, gates: Gates,
        alpha: Mapping[str, Tensor] | None = None,
    ) -> Mapping[str, Tensor]:  # fmt: skip
        """log(loss with the candidate in place / loss as it is), without dropout.

        The inner operation of a single scale is that of nothing, so all of its candidates are
        alike.
        """

        def loss(selection: Selection) -> float:
            return float(self._under(Masks(), valid, selection.to_gates(self.blocks)))

        return replacement_scores(self.blocks, gates, loss, alpha)

    def extract(self, gates: Gates) -> HistoryModel:
        """The model of the selection with copies of the supernet's weights."""
        design = scales_design(self.genotype(gates))
        reader = ScalesReader(self.shape, design)
        model = HistoryModel(self.shape, reader, OPERATIONS[design.outer])
        model = model.to(self.reference_tensor())
        ours = self.state_dict()
        weights = {name: ours[f"model.{name}"] for name in model.state_dict() if name != "readout"}
        model.load_state_dict({**weights, "readout": ours[f"readouts.{design.outer}"]})
        return model


def _gated(block: str, gates: Gates, candidates: Sequence[Candidate]) -> Tensor:
    """The output of a block of one edge."""
    active = None if gates.active is None else gates.active[block][0]
    factors = gates.running(block) if active is None else None
    return gated_output(gates.weights[block][0], active, candidates, factors)
