"""The configuration of the search for recurrent cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from sif.config.cells import CellsConfig, CellSearchSection, Part
from sif.config.renamed import RELAXATIONS
from sif.config.sections import (
    AbsolutePath,
    Count,
    NameOrPath,
    Names,
    NonNegative,
    Rate,
    Section,
    Share,
)
from sif.utils.units import Unit

Columns = Annotated[int, Field(ge=2)]
Optimizer = Literal["sgd", "adam"]


class TextConfig(Section):
    """The text."""

    dir: AbsolutePath | None = Field(None, description="folder that holds or receives data files")
    max_words: Annotated[Annotated[int, Field(ge=4)], Unit("words")] | None = Field(
        None,
        description="size of the vocabulary, the most frequent words; the others become <unk>; "
        "None: all words",
    )


class DropoutConfig(Section):
    """Chances to drop, each mask fixed over a window."""

    word: Annotated[Share, Unit("chance")] = Field(
        0.0, description="chance to drop a word wherever it stands"
    )
    embedding: Annotated[Share, Unit("chance")] = Field(
        0.2, description="chance to drop a value of the embeddings"
    )
    input: Annotated[Share, Unit("chance")] = Field(
        0.75, description="chance to drop a value of the cell's input"
    )
    hidden: Annotated[Share, Unit("chance")] = Field(
        0.25, description="chance to drop a value of a state wherever it is read"
    )
    output: Annotated[Share, Unit("chance")] = Field(
        0.75, description="chance to drop a value of the cell's output"
    )


class RecurrentSearchConfig(CellSearchSection):
    """The search for the cell; the defaults are those of DARTS on Penn Treebank."""

    columns: Annotated[Columns, Unit("columns")] = Field(
        256, description="columns of the text that are read side by side"
    )
    bptt: Annotated[Count, Unit("words")] = Field(35, description="length of a window")
    valid_share: Part = Field(
        0.1, description="share of the train part, at its end, that trains alpha"
    )
    hidden: Annotated[Count, Unit("numbers")] = Field(
        300, description="width of embeddings and states"
    )
    nodes: Annotated[Count, Unit("nodes")] = Field(
        8, description="learned nodes of the cell (space nasp-ptb)"
    )
    optimizer: Optimizer = Field("sgd", description="optimizer of the weights")
    lr: Annotated[Rate, Unit("step size")] = Field(20.0, description="step size of the weights")
    weight_decay: Annotated[NonNegative, Unit("per step")] = Field(
        5e-7, description="weight decay of the weights"
    )
    max_norm: Annotated[Rate, Unit("gradient norm")] = Field(
        0.25, description="upper bound on the norm of the gradient"
    )
    normalize: bool = Field(
        True,
        description="whether a search of single operations normalizes every state over the "
        "columns (space nasp-ptb); mixtures (DARTS) always do, trainings from scratch never do",
    )
    dropout: DropoutConfig = DropoutConfig()


class RecurrentTrainConfig(Section):
    """The training of a language model with a searched cell, from scratch."""

    epochs: Annotated[Count, Unit("epochs")] = Field(
        8000, description="largest number of passes over the train part"
    )
    patience: Annotated[Count, Unit("validations")] = Field(
        50, description="validations without improvement after which training stops"
    )
    columns: Annotated[Count, Unit("columns")] = Field(
        64, description="columns of the text that are read side by side"
    )
    bptt: Annotated[Count, Unit("words")] = Field(35, description="mean length of a window")
    vary: bool = Field(True, description="whether windows have random lengths, as in AWD-LSTM")
    hidden: Annotated[Count, Unit("numbers")] = Field(
        850,
        description="width of embeddings and states; an LSTM and gated cells take the width at "
        "which they have as many weights as a cell of search.nodes nodes",
    )
    optimizer: Optimizer = Field("sgd", description="optimizer of the weights")
    lr: Annotated[Rate, Unit("step size")] = Field(20.0, description="step size")
    weight_decay: Annotated[NonNegative, Unit("per step")] = Field(
        8e-7, description="L2 of all weights"
    )
    max_norm: Annotated[Rate, Unit("gradient norm")] = Field(
        0.25, description="upper bound on the norm of the gradient"
    )
    averaging: Annotated[Count, Unit("validations")] | None = Field(
        5,
        description="weights are averaged once the best validation before the last so many is "
        "better than the present one; None: never",
    )
    activation: Annotated[NonNegative, Unit("penalty weight")] = Field(
        0.0, description="weight of the penalty on large outputs"
    )
    slowness: Annotated[NonNegative, Unit("penalty weight")] = Field(
        1e-3, description="weight of the penalty on outputs that change from step to step"
    )
    dropout: DropoutConfig = DropoutConfig(word=0.1)


class RNNConfig(CellsConfig):
    """A text to a found cell and a trained language model.

    Examples:
        >>> sif.RNNConfig(dataset="ptb", search={"epochs": 5}).search.epochs
        5
    """

    method_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {"arch_lr": 3e-3} for name in ("nasp", *RELAXATIONS, "asap")
    }  # as published for DARTS on Penn Treebank

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None:
            """Sections may be dictionaries, and names former ones, which the fields do not say."""

    task: Literal["rnn"] = Field("rnn", description="name of the task")
    dataset: NameOrPath = Field(
        "grammar",
        description="name of a known text, or a folder with train.txt, valid.txt and test.txt",
    )
    space: Literal["nasp-ptb", "gated"] = Field(
        "nasp-ptb",
        description="name of the search space: nodes behind highways, as DARTS has them, or gated "
        "cells, of which LSTM and GRU are points",
    )
    data: TextConfig = TextConfig()
    search: RecurrentSearchConfig = RecurrentSearchConfig()
    train: RecurrentTrainConfig = RecurrentTrainConfig()
    baselines: Names = Field(
        ("random-ws", "lstm"),
        description="what to compare with: search methods (random-ws, darts-1, gdas, tpe, ...), "
        "published cells (darts-v1, darts-v2, enas, gru, ...) and lstm; []: nothing",
    )
