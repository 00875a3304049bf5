"""The configuration of histories that are read by gradient steps: search, and training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

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

    word: Share = Field(0.0, description="an item, wherever it stands")
    embedding: Share | None = Field(
        None, description="a value of the items' embeddings; None: 0, of scales 0.5"
    )
    input: Share = Field(0.0, description="a value of the reader's input")
    hidden: Share = Field(0.0, description="a value of a cell's state, wherever it is read")
    output: Share = Field(0.0, description="a value of the reader's output")

    def of(self, reader: ReaderName) -> HistoryDropoutConfig:
        """With what a reader takes where nothing is said."""
        told = self.embedding is not None
        return self if told else self.model_copy(update={"embedding": EMBEDDING_DROPOUT[reader]})


class HistorySearchConfig(CellSearchSection):
    """The search for the reader."""

    epochs: Count = Field(10, description="passes over the users whose histories train weights")
    users: Count | None = Field(None, description="users of a batch; None: 64, of scales 32")
    length: Count | None = Field(
        None, description="items of a history, the last ones; None: 50, of scales 200"
    )
    valid_share: Part = Field(0.2, description="share of the users, whose histories alpha sees")
    hidden: Dimension = Field(64, description="width of embeddings and states")
    nodes: Count = Field(4, description="learned nodes of a cell")
    lr: Rate = Field(8e-3, description="Adam step size of the weights")
    arch_every: Count = Field(4, description="weight steps per architecture step")
    weight_decay: NonNegative = Field(0.0, description="L2 of all weights")
    max_norm: Rate = Field(1.0, description="bound on the gradient's norm")
    samples: Count | None = Field(None, description="see train.samples; None: 512, of scales 2048")
    dropout: HistoryDropoutConfig = HistoryDropoutConfig()

    def of(self, reader: ReaderName) -> HistorySearchConfig:
        """With what a reader takes where nothing is said."""
        missing = {k: v for k, v in SEARCHES[reader].items() if getattr(self, k) is None}
        return self.model_copy(update={**missing, "dropout": self.dropout.of(reader)})


class HistoryTrainConfig(Section):
    """The training of a recommender with a given reader, from scratch."""

    epochs: Count = Field(20, description="passes over the users, at most")
    patience: Count = Field(3, description="validations without improvement before it stops")
    evaluate_every: Count = Field(1, description="epochs between validations")
    users: Count = Field(32, description="users of a batch")
    length: Count = Field(200, description="items of a history, the last ones")
    hidden: Dimension = Field(64, description="width of embeddings and states")
    lr: Rate | None = Field(
        None, description="first Adam step size, which falls along half a cosine; None: 0.008, of "
        "scales 0.004"
    )  # fmt: skip
    last_lr: Share = Field(0.05, description="last step size, as a share of the first")
    weight_decay: NonNegative = Field(0.0, description="L2 of all weights")
    max_norm: Rate = Field(1.0, description="bound on the gradient's norm")
    loss: Literal["softmax", "squared"] = Field(
        "softmax", description="loss of the next item over the catalog, also of the search"
    )
    samples: Count = Field(
        512, description="items drawn for the loss of a batch, where the catalog is larger than "
        "exact_items; operations that are no product always draw, an eighth of that"
    )  # fmt: skip
    exact_items: Count = Field(20_000, description="items up to which all are in the loss")
    dropout: HistoryDropoutConfig = HistoryDropoutConfig()

    def of(self, reader: ReaderName) -> HistoryTrainConfig:
        """With what a reader takes where nothing is said."""
        filled = {"lr": self.lr or LR[reader], "dropout": self.dropout.of(reader)}
        return self.model_copy(update=filled)


class HistoriesSection(Section):
    """Readers of histories that a job of interactions compares with its other models."""

    readers: Names = Field(
        (), description="models that read histories in order by gradient steps: scales and cell, "
        "which are searched, gru and lstm; compared, not served"
    )  # fmt: skip
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
        "cell", description="what is searched: a recurrent cell, or decayed sums of time scales"
    )
    method: str = Field("nasp", description="search method")
    methods: dict[str, dict[str, Any]] = Field({}, description="settings of search methods by name")
    search: HistorySearchConfig = HistorySearchConfig()
    train: HistoryTrainConfig = HistoryTrainConfig()

    def method_values(self) -> dict[str, dict[str, Any]]:
        """Settings of methods: the given ones over the defaults of these searches."""
        return with_defaults(self.methods, self.method_defaults[self.reader])
