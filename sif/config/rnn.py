"""The configuration of the search for recurrent cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

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

Columns = Annotated[int, Field(ge=2)]
Optimizer = Literal["sgd", "adam"]


class TextConfig(Section):
    """The text."""

    dir: AbsolutePath | None = Field(None, description="folder that holds or receives data files")
    max_words: Annotated[int, Field(ge=4)] | None = Field(
        None, description="most words, by frequency; the others become <unk>; None: all"
    )


class DropoutConfig(Section):
    """Chances to drop, each mask fixed over a window."""

    word: Share = Field(0.0, description="a word, wherever it stands")
    embedding: Share = Field(0.2, description="a value of the embeddings")
    input: Share = Field(0.75, description="a value of the cell's input")
    hidden: Share = Field(0.25, description="a value of a state, wherever it is read")
    output: Share = Field(0.75, description="a value of the cell's output")


class RecurrentSearchConfig(CellSearchSection):
    """The search for the cell; the defaults are those of DARTS on Penn Treebank."""

    columns: Columns = Field(256, description="columns of the text that are read side by side")
    bptt: Count = Field(35, description="steps of a window")
    valid_share: Part = Field(0.1, description="share of the train part, its end, that alpha sees")
    hidden: Count = Field(300, description="width of embeddings and states")
    nodes: Count = Field(8, description="learned nodes of the cell")
    optimizer: Optimizer = Field("sgd", description="of the weights")
    lr: Rate = Field(20.0, description="step size of the weights")
    weight_decay: NonNegative = Field(5e-7, description="of the weights")
    max_norm: Rate = Field(0.25, description="bound on the gradient's norm")
    normalize: bool = Field(
        True, description="whether a search of single operations normalizes every state over the "
        "columns, as mixtures (DARTS) always do; no training from scratch does"
    )  # fmt: skip
    dropout: DropoutConfig = DropoutConfig()


class RecurrentTrainConfig(Section):
    """The training of a language model with a searched cell, from scratch."""

    epochs: Count = Field(8000, description="passes over the train part, at most")
    patience: Count = Field(50, description="validations without improvement before it stops")
    columns: Count = Field(64, description="columns of the text that are read side by side")
    bptt: Count = Field(35, description="steps of a window, in the mean")
    vary: bool = Field(True, description="random lengths of windows (AWD-LSTM)")
    hidden: Count = Field(850, description="width of embeddings and states")
    optimizer: Optimizer = Field("sgd", description="of the weights")
    lr: Rate = Field(20.0, description="step size")
    weight_decay: NonNegative = Field(8e-7, description="L2 of all weights")
    max_norm: Rate = Field(0.25, description="bound on the gradient's norm")
    averaging: Count | None = Field(
        5, description="weights are averaged once the best of all but the last so many validations "
        "was better than the present one; None: never"
    )  # fmt: skip
    activation: NonNegative = Field(0.0, description="penalty on large outputs")
    slowness: NonNegative = Field(1e-3, description="penalty on outputs that change")
    dropout: DropoutConfig = DropoutConfig(word=0.1)


class RNNConfig(CellsConfig):
    """A text to a found cell and a trained language model.

    Examples:
        >>> sif.RNNConfig(dataset="ptb", search={"epochs": 5}).search.epochs
        5
    """

    method_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {"arch_lr": 3e-3} for name in ("nasp", *RELAXATIONS)
    }  # as published for DARTS on Penn Treebank

    task: Literal["rnn"] = "rnn"
    dataset: NameOrPath = Field(
        "grammar", description="a known text's name, or a folder with train, valid and test"
    )
    data: TextConfig = TextConfig()
    search: RecurrentSearchConfig = RecurrentSearchConfig()
    train: RecurrentTrainConfig = RecurrentTrainConfig()
    baselines: Names = Field(
        ("random-ws", "lstm"), description="to compare with: search methods (random-ws, "
        "darts-1, gdas, tpe, ...), published cells (darts-v1, darts-v2, enas), lstm; []: nothing"
    )  # fmt: skip
