"""The space of language models with gated cells: its supernet and its genotypes.

Each choice of a gated cell is a block of one edge. A gate has the same weights in every cell that
has it, and so has the candidate. At a discrete point only the chosen gates run; all alternatives
are probed on the states of that pass, for the whole window at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import cast

import torch
from torch import Tensor

from sif.core.gates import Block, Gates
from sif.core.genotype import Genotype, check_names
from sif.core.probe import Candidate, Factors, probe
from sif.errors import GenotypeError
from sif.spaces.cell_space import CellSpace
from sif.spaces.rnn.dropout import TextShape
from sif.spaces.rnn.gated_cells import CANDIDATE, CHOICES, LSTM_CELL, GatedCell, expression
from sif.spaces.rnn.gated_networks import (
    Alternatives,
    Choose,
    GatedRecurrence,
    GatedWeights,
    Step,
    run_cell,
    unroll,
)
from sif.spaces.rnn.networks import LanguageModel
from sif.spaces.rnn.supernet import TextBatch, window_loss, with_reward, with_words_of

SPACE = "gated"
PRODUCTS = ("input", "forget", "output", "reset", CANDIDATE)
"""Products of the supernet; that of the candidate is the last."""


class GatedSpace(CellSpace):
    """The supernet.

    Args:
        shape: Of the model; its nodes are of no use here.
        dropout: Name of each of `sif.spaces.rnn.dropout.Masks` to the search's chance to drop.
        precision: Of matrix products, "bfloat16" or "float32"; states and weights keep their own.
    """

    name = SPACE
    norms = None
    """No state is normalized: gates keep the states of mixtures bounded."""

    def __init__(
        self, shape: TextShape, dropout: Mapping[str, float], precision: str = "float32"
    ) -> None:
        super().__init__()
        self.shape, self.dropout, self.precision = shape, dropout, precision
        # A search starts at the LSTM.
        self.blocks = tuple(
            Block(name, operations, default_op=getattr(LSTM_CELL, name))
            for name, operations in CHOICES.items()
        )
        self.model = LanguageModel(shape, GatedWeights(shape, PRODUCTS, inner_bias=True))

    @property
    def cell_weights(self) -> GatedWeights:
        """The matrices of all products."""
        return cast(GatedWeights, self.model.recurrence)

    def loss(self, batch: TextBatch, gates: Gates) -> Tensor:
        """Mean nats per word of a window under the gates; moves the batch's state on."""

        def read(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
            start = batch.start
            if start is None:
                start = x.new_zeros(2, x.shape[1], self.shape.hidden)
            return self.outputs(x, start, mask, gates)

        return window_loss(self.model, batch, self.dropout, self.precision, read)

    def outputs(
        self, x: Tensor, state: Tensor, mask: Tensor | None, gates: Gates
    ) -> tuple[Tensor, Tensor]:
        """Outputs of the cell under the gates.

        Args:
            x: (steps, batch, hidden) inputs.
            state: (2, batch, hidden): output and memory before the window.
            mask: (batch, hidden) for the output, wherever it is read as a state.
            gates: Of all alternatives.

        Returns:
            (steps, batch, hidden) outputs, and the state behind the window.
        """
        weights = self.cell_weights
        if gates.active is None:
            mixing = _mixing(gates, x)
            return unroll(weights, x, state, mask, lambda number, step: mixing, PRODUCTS)
        cell = self.cell(gates)
        if not any(table.requires_grad for table in gates.weights.values()):
            return run_cell(weights, cell, x, state, mask)
        probes = _Probes(weights, cell, x, gates)
        return unroll(weights, x, state, mask, probes.chooses, cell.products)

    def rewarded(self, batch: TextBatch, gates: Gates) -> tuple[Tensor, Tensor]:
        """Loss of a window, and 80 / its perplexity, the reward of ENAS."""
        return with_reward(self.loss(batch, gates))

    def cell(self, gates: Gates) -> GatedCell:
        """The cell of the selection."""
        chosen = gates.choices().named(self.blocks)
        return GatedCell(**{name: operation for name, ((_, operation),) in chosen.items()})

    def extract(self, gates: Gates) -> LanguageModel:
        """The language model of the selection with copies of the supernet's weights."""
        recurrence = GatedRecurrence(self.shape, self.cell(gates))
        recurrence.to(self.reference_tensor())  # copies keep the precision of these weights
        state = self.cell_weights.state_dict()
        own = recurrence.weights.state_dict()
        recurrence.weights.load_state_dict({name: state[name] for name in own})
        return with_words_of(self.model, recurrence)


def _mixing(gates: Gates, like: Tensor) -> Choose:
    """Choices that sum all alternatives that run, by their weights."""
    weights = {name: table[0].to(like) for name, table in gates.weights.items()}
    factors = {name: gates.running(name) for name in weights}

    def mix(block: str, alternatives: Alternatives) -> Tensor:
        runs, parts = factors[block], zip(weights[block], alternatives.values(), strict=True)
        shares = (
            weight * compute()
            for k, (weight, compute) in enumerate(parts)
            if runs is None or runs[k]
        )
        return cast(Tensor, reduce(torch.add, shares))

    return mix


@dataclass(eq=False)
class _Recorded:
    """Numbers of a window, per step, that alternatives depend on; (batch, hidden) each."""

    hiddens: list[Tensor] = field(default_factory=list)
    memories: list[Tensor] = field(default_factory=list)
    values: dict[str, list[Tensor]] = field(default_factory=lambda: {name: [] for name in CHOICES})


class _Probes:
    """Choices of a cell whose backward pass probes every alternative on the whole window.

    Each value gets an offset of zeros, whose gradient is that of the value at all steps.
    """

    def __init__(self, weights: GatedWeights, cell: GatedCell, x: Tensor, gates: Gates) -> None:
        self._weights, self._cell = weights, cell
        steps, columns, width = x.shape
        rows = 1.0 if gates.probing is None else gates.probing.rows
        self._rows = max(1, round(rows * columns))
        self._inputs = x.detach()[:, : self._rows]
        self._recorded = _Recorded()
        self._window: dict[str, Alternatives] = {}
        self._offsets = {}
        for name, operations in CHOICES.items():
            factors: Factors | None = gates.running(name)
            zeros = x.new_zeros(columns, steps, width)
            made = [self._candidate(name, operation) for operation in operations]
            offsets = probe(zeros, gates.weights[name], made, factors)
            self._offsets[name] = offsets.unbind(1)

    def chooses(self, number: int, step: Step) -> Choose:
        """The choices of a step: those of the cell, with offsets; what they depend on is kept."""
        recorded = self._recorded
        recorded.hiddens.append(step.hidden.detach()[: self._rows])
        recorded.memories.append(step.memory.detach()[: self._rows])

        def choose(block: str, alternatives: Alternatives) -> Tensor:
            value = alternatives[getattr(self._cell, block)]() + self._offsets[block][number]
            recorded.values[block].append(value.detach()[: self._rows])
            return value

        return choose

    def _candidate(self, block: str, operation: str) -> Candidate:
        def compute() -> Tensor:
            if not self._window:
                self._gather()
            return self._window[block][operation]()

        return compute

    def _gather(self) -> None:
        """Finds the alternatives of every choice on all steps of the window: (rows, steps, hidden).

        Each choice takes the values that it had, as the pass recorded them.
        """
        shares = self._weights.given(self._inputs, PRODUCTS)
        given = {n: share.transpose(0, 1) for n, share in zip(PRODUCTS, shares, strict=True)}
        recorded = self._recorded
        hidden, memory = (torch.stack(each, 1) for each in (recorded.hiddens, recorded.memories))

        def choose(block: str, alternatives: Alternatives) -> Tensor:
            self._window[block] = alternatives
            return torch.stack(recorded.values[block], 1)

        Step(self._weights, given, hidden, memory).run(choose)


def gated_cell(genotype: Genotype) -> GatedCell:
    """The cell of a searched genotype.

    Raises:
        GenotypeError: Of another space, a choice that the space does not have, or none or several
            of them.
    """
    check_names(genotype, SPACE, CHOICES)
    for name, choices in genotype.blocks.items():
        if [edge for edge, _ in choices] != [0]:
            raise GenotypeError(
                f"genotype: block {name!r}: expected one choice, that of edge 0, found "
                f"{len(choices)}, of edges {[edge for edge, _ in choices]}"
            )
    return GatedCell(**{name: genotype.operation(name) for name in CHOICES})


def notation(genotype: Genotype) -> str:
    """The cell of a genotype on one line."""
    return expression(gated_cell(genotype))
