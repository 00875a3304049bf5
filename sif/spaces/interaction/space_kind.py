"""The registered form of a space of interaction functions: supernet, designs, expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from pydantic import BaseModel
from torch import Tensor

from sif.core.gates import Gates
from sif.core.genotype import Genotype
from sif.core.space import Space
from sif.spaces.interaction.design import plain_product
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.encoders import Histories
from sif.spaces.interaction.feature_vectors import FeatureSums
from sif.spaces.interaction.function import Design, Interaction
from sif.spaces.interaction.losses import (
    Batch,
    Loss,
    LossKind,
    LossSettings,
    Scored,
    Weighting,
)
from sif.utils.registry import check_fields

Criterion = Callable[[Interaction, Batch], float]


class AtGates(Scored, Protocol):
    """A supernet at its gates, which scores pairs."""

    def chosen(self) -> Interaction:
        """The function of a discrete point; ShapeError for relaxed gates."""
        ...


@runtime_checkable
class InteractionSpace(Space, Protocol):
    """A supernet of interaction functions, a `torch.nn.Module`."""

    def interaction(self, gates: Gates) -> AtGates:
        """The function at the gates."""
        ...


@dataclass(frozen=True, eq=False)
class NamedLoss:
    """A loss with its numbers.

    Attributes:
        kind: The loss.
        settings: Its numbers.
    """

    kind: LossKind
    settings: LossSettings


@dataclass(frozen=True, eq=False)
class SpaceContext:
    """Everything that data, objective and settings give to a supernet.

    Attributes:
        shape: Of the tables; its encodings and whether the readout is trained are the space's.
        fields: Names of the fields, user and item first.
        loss: Of a batch, for the weights and for the architecture.
        loss_settings: Its numbers.
        strengths: (n_f,) per field: L2 strength of each row, per observed train row; where there
            are features, (m_f,) of those of each field follow.
        weightings: Of the training loss, by name.
        histories: The train part as encoders see it; made when it is first asked for.
        criterion: Error by which validation judges a function; positive, lower is better.
        draws: All initial values.
        stages: Names of the blocks that are searched (`search.stages`).
        own_tables: Whether each operation keeps embeddings of its own (`search.tables`): shared
            ones fit the incumbent, and every challenger looks worse than it is.
        transform_offset: c of the start of learned transforms, x + c.
        settings: Of `SpaceKind.settings`; None where that is None.
        losses: Those that are searched beside `loss`, by name.
        loss_name: Of `loss`.
        similarity: Of the functions, where it is not searched.
        l2_unit: `LossKind.l2` of `loss`, which `strengths` hold.
        described: Features of each field, see `Tables`; empty: the data have none.
    """

    shape: TableShape
    fields: tuple[str, ...]
    loss: Loss
    loss_settings: LossSettings
    strengths: tuple[Tensor, ...]
    weightings: Mapping[str, Weighting | None]
    histories: Callable[[], Histories]
    criterion: Criterion
    draws: torch.Generator
    stages: tuple[str, ...] = ()
    own_tables: bool = True
    transform_offset: float = 0.0
    settings: Any = None
    losses: Mapping[str, NamedLoss] = field(default_factory=dict)
    loss_name: str = ""
    similarity: str = "product"
    l2_unit: float = 1.0
    described: tuple[FeatureSums | None, ...] = ()


@dataclass(frozen=True)
class SpaceKind:
    """A space of interaction functions by its name.

    Attributes:
        make: Its supernet, on the CPU; ConfigError for fields that it does not take.
        design: The design of one of its genotypes, given the names of the fields; GenotypeError
            for a genotype that it does not know.
        expression: The genotype on one line, for people.
        multiply: The product of the embeddings, which every found function is compared with, as a
            genotype of this or another space.
        has_multiply: Whether `multiply` is one of its own functions.
        stages: Of its blocks, those that `search.stages` chooses from, each combination over
            weights of its own and of user and item alone; empty: it has no stages.
        settings: Model of settings of its own, as `spaces.NAME.key`; None: it has none.

    Raises:
        ConfigError: A function does not take its arguments, or `settings` is no such class.
    """

    make: Callable[[SpaceContext], InteractionSpace]
    design: Callable[[Genotype, Sequence[str]], Design]
    expression: Callable[[Genotype, Sequence[str]], str]
    multiply: Callable[[Sequence[str]], Genotype] = plain_product
    has_multiply: bool = False
    stages: tuple[str, ...] = ()
    settings: type[BaseModel] | None = None

    def __post_init__(self) -> None:
        functions = {"make": "context", "design": "genotype, fields"}
        functions |= {"expression": "genotype, fields", "multiply": "fields"}
        check_fields(self, functions, BaseModel)
