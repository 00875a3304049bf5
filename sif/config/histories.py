"""The configuration of histories that are read by gradient steps: search, and training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from sif.config.cells import CellSearchSection, Part
from sif.config.rnn import DropoutConfig
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

NO_DROPOUT = DropoutConfig(embedding=0.0, input=0.0, hidden=0.0, output=0.0)


class HistorySearchConfig(CellSearchSection):
    """The search for the reader."""

    epochs: Count = Field(10, description="passes over the users whose histories train weights")
    users: Count = Field(64, description="users of a batch")
    length: Count = Field(50, description="items of a history, the last ones")
    valid_share: Part = Field(0.2, description="share of the users, whose histories alpha sees")
    hidden: Dimension = Field(64, description="width of embeddings and states")
    nodes: Count = Field(4, description="learned nodes of a cell")
    lr: Rate = Field(8e-3, description="Adam step size of the weights")
    arch_every: Count = Field(4, description="weight steps per architecture step")
    weight_decay: NonNegative = Field(0.0, description="L2 of all weights")
    max_norm: Rate = Field(1.0, description="bound on the gradient's norm")
    samples: Count = Field(512, description="see train.samples")
    dropout: DropoutConfig = NO_DROPOUT


class HistoryTrainConfig(Section):
    """The training of a recommender with a given reader, from scratch."""

    epochs: Count = Field(20, description="passes over the users, at most")
    patience: Count = Field(3, description="validations without improvement before it stops")
    evaluate_every: Count = Field(1, description="epochs between validations")
    users: Count = Field(32, description="users of a batch")
    length: Count = Field(200, description="items of a history, the last ones")
    hidden: Dimension = Field(64, description="width of embeddings and states")
    lr: Rate = Field(8e-3, description="first Adam step size; it falls along half a cosine")
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
    dropout: DropoutConfig = NO_DROPOUT


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
                "warmup": 0.25, "score": "replacement_loss", "arch_optimizer": "plain",
                "arch_lr": 0.3,
            }
        },
    }  # fmt: skip
    """Reader to method to the settings that its searches start from."""

    reader: Literal["cell", "scales"] = Field(
        "cell", description="what is searched: a recurrent cell, or decayed sums of time scales"
    )
    method: str = Field("nasp", description="search method")
    methods: dict[str, dict[str, Any]] = Field({}, description="settings of search methods by name")
    search: HistorySearchConfig = HistorySearchConfig()
    train: HistoryTrainConfig = HistoryTrainConfig()

    def method_values(self) -> dict[str, dict[str, Any]]:
        """Settings of methods: the given ones over the defaults of these searches."""
        return with_defaults(self.methods, self.method_defaults[self.reader])
