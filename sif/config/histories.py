"""The configuration of histories that are read by gradient steps: search, and training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from sif.config.cells import CellSearchSection, Part
from sif.config.sections import (
    Constructed,
    Count,
    Dimension,
    Names,
    NonNegative,
    Rate,
    Section,
    Share,
    with_defaults,
)
from sif.utils.units import Unit

ReaderName = Literal["cell", "scales"]
SEARCHES: Mapping[ReaderName, Mapping[str, int]] = {
    "cell": {"users": 64, "length": 50, "samples": 512},
    "scales": {"users": 32, "length": 200, "samples": 2048},
}
"""Settings of a search that nobody has given: short histories tell nothing of long scales, which
cost no steps one after the other; of drawn items every operation sees an eighth."""
LR: Mapping[ReaderName, float] = {"cell": 8e-3, "scales": 4e-3}
EMBEDDING_DROPOUT: Mapping[ReaderName, float] = {"cell": 0.0, "scales": 0.5}
"""The same of a training, by validation on MovieLens, and the dropout of a search."""


class HistoryDropoutConfig(Section):
    """Chances to drop, each mask fixed over a history."""

    word: Annotated[Share, Unit("chance")] = Field(
        0.0, description="chance to drop an item wherever it stands"
    )
    embedding: Annotated[Share, Unit("chance")] | None = Field(
        None,
        description="chance to drop a value of the items' embeddings; None: 0, and 0.5 for scales",
    )
    input: Annotated[Share, Unit("chance")] = Field(
        0.0, description="chance to drop a value of the reader's input"
    )
    hidden: Annotated[Share, Unit("chance")] = Field(
        0.0, description="chance to drop a value of a cell's state wherever it is read"
    )
    output: Annotated[Share, Unit("chance")] = Field(
        0.0, description="chance to drop a value of the reader's output"
    )

    def of(self, reader: ReaderName) -> HistoryDropoutConfig:
        """With what a reader takes where nothing is said."""
        told = self.embedding is not None
        return self if told else self.model_copy(update={"embedding": EMBEDDING_DROPOUT[reader]})


class HistorySearchConfig(CellSearchSection):
    """The search for the reader."""

    epochs: Annotated[Count, Unit("epochs")] = Field(
        10, description="passes over the users whose histories train weights"
    )
    users: Annotated[Count, Unit("users")] | None = Field(
        None, description="users of a batch; None: 64, and 32 for scales"
    )
    length: Annotated[Count, Unit("items")] | None = Field(
        None,
        description="most recent items of a history that are read; None: 50, and 200 for scales",
    )
    valid_share: Part = Field(0.2, description="share of the users whose histories train alpha")
    hidden: Dimension = Field(64, description="width of embeddings and states")
    nodes: Annotated[Count, Unit("nodes")] = Field(4, description="learned nodes of a cell")
    lr: Annotated[Rate, Unit("step size")] = Field(
        8e-3, description="Adam step size of the weights"
    )
    arch_every: Annotated[Count, Unit("weight steps")] = Field(
        4, description="weight steps between two architecture steps"
    )
    weight_decay: Annotated[NonNegative, Unit("per step")] = Field(
        0.0, description="L2 of all weights"
    )
    max_norm: Annotated[Rate, Unit("gradient norm")] = Field(
        1.0, description="upper bound on the norm of the gradient"
    )
    samples: Annotated[Count, Unit("items per batch")] | None = Field(
        None,
        description="items drawn for the loss of a batch, as train.samples; None: 512, and 2048 "
        "for scales",
    )
    dropout: HistoryDropoutConfig = HistoryDropoutConfig()

    def of(self, reader: ReaderName) -> HistorySearchConfig:
        """With what a reader takes where nothing is said."""
        missing = {k: v for k, v in SEARCHES[reader].items() if getattr(self, k) is None}
        return self.model_copy(update={**missing, "dropout": self.dropout.of(reader)})


class HistoryTrainConfig(Section):
    """The training of a recommender with a given reader, from scratch."""

    epochs: Annotated[Count, Unit("epochs")] = Field(
        20, description="largest number of passes over the users"
    )
    patience: Annotated[Count, Unit("validations")] = Field(
        3, description="validations without improvement after which training stops"
    )
    evaluate_every: Annotated[Count, Unit("epochs")] = Field(
        1, description="epochs between two validations"
    )
    users: Annotated[Count, Unit("users")] = Field(32, description="users of a batch")
    length: Annotated[Count, Unit("items")] = Field(
        200, description="most recent items of a history that are read"
    )
    hidden: Dimension = Field(64, description="width of embeddings and states")
    lr: Annotated[Rate, Unit("step size")] | None = Field(
        None,
        description="first Adam step size, which falls along half a cosine; None: 0.008, and 0.004 "
        "for scales",
    )
    last_lr: Share = Field(0.05, description="last step size, as a share of the first")
    weight_decay: Annotated[NonNegative, Unit("per step")] = Field(
        0.0, description="L2 of all weights"
    )
    max_norm: Annotated[Rate, Unit("gradient norm")] = Field(
        1.0, description="upper bound on the norm of the gradient"
    )
    loss: Literal["softmax", "squared"] = Field(
        "softmax", description="loss of the next item over the catalog; the search uses it too"
    )
    samples: Annotated[Count, Unit("items per batch")] = Field(
        512,
        description="items drawn for the loss of a batch where the catalog is larger than "
        "exact_items; an eighth as many for operations that are no product",
    )
    exact_items: Annotated[Count, Unit("items")] = Field(
        20_000, description="largest catalog whose items are all in the loss"
    )
    dropout: HistoryDropoutConfig = HistoryDropoutConfig()

    def of(self, reader: ReaderName) -> HistoryTrainConfig:
        """With what a reader takes where nothing is said."""
        filled = {"lr": self.lr or LR[reader], "dropout": self.dropout.of(reader)}
        return self.model_copy(update=filled)


class HistoriesSection(Section):
    """Readers of histories that a job of interactions compares with its other models."""

    readers: Names = Field(
        (),
        description="models that read histories in order by gradient steps: scales and cell are "
        "searched, gru and lstm are given; they are compared, not served",
    )
    search: HistorySearchConfig = HistorySearchConfig()
    train: HistoryTrainConfig = HistoryTrainConfig()


class HistoryConfig(Section, metaclass=Constructed):
    """Histories that are read by gradient steps, see `sif.problems.histories.HistoryProblem`.

    Raises:
        ConfigError: An unknown setting or a wrong value, on one line.
    """

    method_defaults: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "cell": {"nasp": {"arch_lr": 0.01, "warmup": 0.25}},
        "scales": {
            "nasp": {
                "warmup": 0.0, "arch_start": 0.5, "explore": 0.05, "score": "replacement_loss",
                "arch_optimizer": "plain", "arch_lr": 0.3,
            }
        },
    }  # fmt: skip
    """Reader to method to the settings that its searches start from."""

    reader: ReaderName = Field(
        "cell", description="what is searched: a recurrent cell, or decayed sums over time scales"
    )
    method: str = Field("nasp", description="name of the search method")
    methods: dict[str, dict[str, Any]] = Field(
        {}, description="settings of search methods, by name"
    )
    search: HistorySearchConfig = HistorySearchConfig()
    train: HistoryTrainConfig = HistoryTrainConfig()

    def method_values(self) -> dict[str, dict[str, Any]]:
        """Settings of methods: the given ones over the defaults of these searches."""
        return with_defaults(self.methods, self.method_defaults[self.reader])
