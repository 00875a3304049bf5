"""The designs of language models, whichever space they are of: read, written, counted and built."""

from __future__ import annotations

from torch import nn

from sif.core.genotype import Genotype
from sif.spaces.rnn import cells, gated_cells
from sif.spaces.rnn.cells import RecurrentCell
from sif.spaces.rnn.dropout import TextShape
from sif.spaces.rnn.gated_cells import GatedCell
from sif.spaces.rnn.gated_networks import GatedRecurrence
from sif.spaces.rnn.gated_supernet import SPACE as GATED
from sif.spaces.rnn.gated_supernet import gated_cell
from sif.spaces.rnn.networks import CellRecurrence, LSTMRecurrence
from sif.spaces.rnn.supernet import recurrent_cell

LSTM = "lstm"
"""Name of torch's LSTM, which is no searched cell."""
TextDesign = RecurrentCell | GatedCell | str
"""A cell, or `LSTM`."""
PUBLISHED: dict[str, TextDesign] = {**cells.PUBLISHED, **gated_cells.PUBLISHED, LSTM: LSTM}
"""Published designs by name."""


def of_genotype(genotype: Genotype) -> RecurrentCell | GatedCell:
    """The cell of a searched genotype of either space.

    Raises:
        GenotypeError: Of another space, or a choice that its space does not have.
    """
    return gated_cell(genotype) if genotype.space == GATED else recurrent_cell(genotype)


def expression(design: TextDesign) -> str:
    """A design on one line."""
    if isinstance(design, str):
        return design
    if isinstance(design, GatedCell):
        return gated_cells.expression(design)
    return cells.expression(design)


def format_design(design: TextDesign) -> str:
    """The text that `parse_design` reads: `LSTM`, or a cell in the form of DARTS' genotypes."""
    if isinstance(design, str):
        return design
    if isinstance(design, GatedCell):
        return gated_cells.format_gated(design)
    return cells.format_cell(design)


def parse_design(text: str) -> TextDesign:
    """Reads what `format_design` wrote.

    Raises:
        GenotypeError: Anything else.
    """
    if text == LSTM:
        return LSTM
    return gated_cells.parse_gated(text) if "forget=" in text else cells.parse_cell(text)


def recurrence(design: TextDesign, shape: TextShape) -> nn.Module:
    """The untrained recurrence of a design."""
    if isinstance(design, str):
        return LSTMRecurrence(shape)
    if isinstance(design, GatedCell):
        return GatedRecurrence(shape, design)
    return CellRecurrence(shape, design)


def size(design: TextDesign, width: int) -> int:
    """Number of weights of a recurrence at a width of its states and inputs."""
    if isinstance(design, str):
        return 8 * width * (width + 1)  # torch's LSTM has two biases for each gate
    if isinstance(design, GatedCell):
        return design.size(width)
    return (4 + 2 * len(design.nodes)) * width**2
