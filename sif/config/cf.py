"""The configuration of collaborative filtering."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sif.config.histories import HistoriesSection
from sif.config.renamed import RELAXATIONS
from sif.config.sections import (
    AbsolutePath,
    CommonConfig,
    Count,
    Dimension,
    Fraction,
    NameOrPath,
    Names,
    NonNegative,
    Numbers,
    Rate,
    SearchSection,
    Section,
    Whole,
    one_or_many,
)


def _unescaped(value: Any) -> Any:
    """Turns backslash-t, the easiest form of a tab in a shell, into a tab."""
    return "\t" if value in ("\\t", "tab") else value


def _dated(value: Any) -> Any:
    """Turns a date, which is what YAML makes of 2014-07-23, into its text."""
    return value.isoformat() if isinstance(value, date) else value


Moment = Annotated[str | int | float, BeforeValidator(_dated)]
ContextNames = Annotated[
    tuple[str, ...], Field(strict=False, max_length=9), BeforeValidator(one_or_many)
]


class PlantedConfig(Section):
    """The generated dataset 'planted', whose truth is known."""

    of_product: ClassVar[frozenset[str]] = frozenset(
        {"operation", "transforms", "dimension", "density", "noise"}
    )
    """Settings that the kind product alone has."""
    of_histories: ClassVar[frozenset[str]] = frozenset({"length"})
    """Settings that the other kinds alone have."""

    kind: Literal["product", "two-scales", "one-scale", "set", "shuffled"] = Field(
        "product", description="truth: a function of a user's and an item's vector (product), or "
        "histories of films that follow their last ones on two time scales or one, a set, or those "
        "of two-scales shuffled"
    )  # fmt: skip
    users: Count = Field(600, description="users")
    items: Count = Field(400, description="items")
    length: Annotated[int, Field(ge=8, le=10_000)] = Field(
        50, description="items of a user on average, in histories"
    )
    operation: str = Field("multiply", description="true vector operation O")
    transforms: Names = Field(
        ("identity", "identity"), description="true element-wise function of each field"
    )
    dimension: Dimension = Field(2, description="embedding dimensions of the truth")
    density: Fraction = Field(0.1, description="fraction of all pairs that is observed")
    noise: NonNegative = Field(0.3, description="noise deviation, in deviations of the signal")

    def arguments(self) -> dict[str, Any]:
        """Arguments of the generator that a kind has, which also takes a seed."""
        if self.kind == "product":
            return self.model_dump(exclude={"kind", *self.of_histories})
        return {"truth": self.kind, **self.model_dump(exclude={"kind", *self.of_product})}


_LASTING = {
    "user", "item", "rating", "timestamp", "separator", "context", "order", "min_rating",
    "duplicates",
}  # fmt: skip


class DataConfig(Section):
    """Reading, filtering and splitting of interactions."""

    user: str | None = Field(None, description="column of the user id; None: recognized")
    item: str | None = Field(None, description="column of the item id; None: recognized")
    rating: str | None = Field(None, description="column of the rating; None: recognized")
    timestamp: str | None = Field(None, description="column of the time; None: recognized")
    separator: Annotated[str | None, BeforeValidator(_unescaped)] = Field(
        None, description="field separator; None: sniffed"
    )
    context: ContextNames = Field(
        (), description="further columns to read as ids, each a field of the function (rating only)"
    )
    query: str | None = Field(None, description="query that a database answers with the rows")
    table: str | None = Field(None, description="table of a database, in place of a query")
    time_buckets: Annotated[int, Field(ge=2)] | None = Field(
        None, description="buckets of a generated field 'time', equally many train rows each"
    )
    stream: bool | Literal["auto"] = Field(
        "auto", description="read files by pieces into mapped files of int32, so that rows need "
        "not fit in memory; auto: folders, Parquet from 64 MiB, text from 512 MiB"
    )  # fmt: skip
    reader: Literal["local", "ray"] = Field(
        "local", description="who decodes Parquet files: this process, or Ray Data on the cluster "
        "of RAY_ADDRESS, or on a Ray of this machine for that time; the rows are the same"
    )  # fmt: skip
    scratch: AbsolutePath | None = Field(
        None, description="folder of such files, which stay there for later jobs on the same data; "
        "None: beside the run folder, until they are mapped"
    )  # fmt: skip
    order: Literal["time", "rows"] | None = Field(
        None, description="what says which interaction came first: time, or the rows of the file; "
        "None: time where there is a column of it"
    )  # fmt: skip
    min_rating: float | None = Field(None, description="ratings below this are dropped")
    min_user: Count = Field(1, description="fewest interactions per user")
    min_item: Count = Field(1, description="fewest interactions per item")
    since: Moment | None = Field(
        None, description="interactions before this time are dropped, though users have these "
        "items all the same; seconds since 1970 or an ISO date"
    )  # fmt: skip
    until: Moment | None = Field(
        None, description="interactions at this time or later are dropped as if they had not "
        "happened yet"
    )  # fmt: skip
    duplicates: Literal["last", "first", "mean", "error"] = Field(
        "last", description="rule for repeated pairs"
    )
    protocol: str | None = Field(None, description="split protocol; None: the objective's own")
    moments: Annotated[int, Field(ge=2, le=8)] = Field(
        3, description="moments of protocol rolling, a tenth of the rows apart"
    )
    moment: Count | None = Field(
        None, description="the one moment of protocol rolling that the job takes, from 1; None: all"
    )
    split_file: AbsolutePath | None = Field(
        None, description="a split made elsewhere; the dataset's name is then only a label"
    )
    dir: AbsolutePath | None = Field(None, description="folder that holds or receives data files")
    planted: PlantedConfig = PlantedConfig()

    @property
    def lasting(self) -> DataConfig:
        """The settings that also hold for later interactions and on other machines."""
        return DataConfig(**self.model_dump(include=_LASTING))

    @model_validator(mode="after")
    def _one_question(self) -> DataConfig:
        if self.query is not None and self.table is not None:
            raise ValueError(f"query contradicts table ({self.table}): drop one of them")
        return self

    @model_validator(mode="after")
    def _times_of_a_split(self) -> DataConfig:
        if self.split_file is not None and (self.since is not None or self.until is not None):
            raise ValueError("since and until contradict split_file, which says what is in it")
        return self

    @model_validator(mode="after")
    def _distinct_fields(self) -> DataConfig:
        generated = ("time",) if self.time_buckets is not None else ()
        # "operation" is the block of a genotype that is named after no field.
        taken = ["user", "item", "rating", "timestamp", "operation", *generated]
        for name in self.context:
            if name in taken:
                raise ValueError(
                    f"context: expected names that differ from {', '.join(taken)}, found {name!r}"
                )
            taken.append(name)
        return self


class ModelConfig(Section):
    """The parts of a model beside the interaction function."""

    biases: bool | None = Field(None, description="user and item biases; None: the objective's own")
    init: Rate = Field(0.1, description="deviation of the initial embeddings")
    history_power: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="histories are sums over n pairs times n^-this (space staged)"
    )
    readout_signs: Literal["mixed", "positive"] = Field(
        "mixed", description="start of the readout: +1, -1, +1, ... or all +1"
    )
    similarity: Literal["product", "cosine"] = Field(
        "product", description="vectors as they are, or scaled to length 1, so that products are "
        "cosines (rankings, space staged)"
    )  # fmt: skip


Objective = Literal["ranking", "rating"]
ExcludeSeen = Literal["all", "trained", "none"]
Refit = Literal["none", "valid", "all"]
Retrieval = Literal["auto", "exact", "approximate"]
Owned = dict[str, dict[str, Any]]
"""Name of something that is registered to the settings of its own."""
Stage = Literal[
    "closed", "order", "encoding", "embedding", "operation", "weighting", "similarity", "loss"
]
OWN_STAGES = ("closed", "order")
"""Stages that are models of their own, beside the functions of pairs."""


class LossConfig(Section):
    """The loss that training minimizes."""

    name: str | None = Field(
        None, description="loss; None: the objective's own, whole-data or squared"
    )
    positive_weight: NonNegative = Field(
        3.0, description="weight of an observed pair above the 1 of any pair (whole-data)"
    )
    negatives: Count = Field(
        2, description="drawn items (bpr, bce) or pairs (whole-data) per observed pair"
    )
    samples: Count = Field(
        1024, description="items drawn per batch where a loss over the catalog (softmax, bsl, "
        "softmax-at-k, cosine-contrastive) does not see all of it: beyond 20,000 items, or an "
        "eighth as many where scores are no product"
    )  # fmt: skip
    sampling: Literal["uniform", "popularity", "in-batch"] = Field(
        "uniform", description="how such items and negatives are drawn: all alike, by popularity, "
        "or of the batch's other rows"
    )  # fmt: skip
    sampling_power: Annotated[float, Field(ge=0, le=2)] = Field(
        0.75, description="power of popularity, where items are drawn by it"
    )
    history_l2: NonNegative = Field(
        1.0, description="L2 of a history's row, in units of an embedding's"
    )
    bias_l2: NonNegative = Field(1.0, description="L2 of a bias, in units of an embedding's")
    l2_scaling: Literal["plain", "sqrt", "linear"] = Field(
        "sqrt", description="growth of a row's L2 with its number of interactions"
    )


def _of_functions(stages: tuple[str, ...]) -> tuple[str, ...]:
    """Stages of which one at least is of functions, with which other models are compared."""
    if set(stages) <= {"closed", "order"}:
        told = " and ".join(stages)
        raise ValueError(f"expected a stage of functions beside {told}, found {told} alone")
    return stages


class SearchConfig(SearchSection):
    """The search for the interaction function."""

    epochs: Count = Field(60, description="passes over the train part")
    batch_size: Count | None = Field(None, description="interactions per weight step; None: all")
    max_interactions: Count | None = Field(
        1_000_000, description="train interactions searched on, whole users drawn; None: all"
    )
    dimension: Dimension = Field(8, description="embedding dimensions")
    lr: Rate = Field(0.05, description="Adam step size of the weights")
    l2: NonNegative = Field(3.0, description="L2 strength, as in train.l2")
    adapt_l2: bool = Field(
        True, description="move l2 as far as fixed multiply's best strength lies beyond the ends "
        "of train.l2 (primitives, staged)"
    )  # fmt: skip
    stages: Annotated[
        tuple[Stage, ...],
        Field(strict=False, min_length=1),
        BeforeValidator(one_or_many),
        AfterValidator(_of_functions),
    ] = Field(
        ("closed", "order", "encoding", "embedding", "operation", "weighting"),
        description="stages of space staged that are searched, the others stay neutral; closed and "
        "order: item-item models of their own, of all rankings and of those whose order is known; "
        "similarity and loss, of rankings, start at model.similarity and loss.name",
    )
    tables: Literal["own", "shared"] = Field(
        "own", description="embeddings of each operation, or one set for all (sif, primitives)"
    )
    validate_every_epoch: bool = Field(
        False, description="judge the selection of every epoch on validation, off the clock, for "
        "curves over time; random-ws and samplers always judge"
    )  # fmt: skip
    arch_every: Count = Field(
        2, description="weight steps per architecture step, of alpha and of learned transforms; "
        "DARTS, SNAS and GDAS: always 1"
    )  # fmt: skip
    transform_lr: Rate = Field(0.003, description="Adam step size of learned transforms")
    transform_offset: float = Field(0.0, description="learned transforms start at x + this (sif)")


class TrainConfig(Section):
    """The training of the searched function, from scratch."""

    epochs: Count = Field(500, description="passes over the train part, at most")
    patience: Count = Field(5, description="validations without a better metric")
    evaluate_every: Count = Field(5, description="epochs between validations")
    batch_size: Count | None = Field(
        None, description="interactions per step; None: all; not used with blocks"
    )
    block_pairs: Count | None = Field(
        None,
        description="interactions of a step over some users; None: all up to 2,000,000 in train, "
        "a 64th beyond",
    )
    block_bytes: int = Field(
        1 << 32, ge=1 << 10, le=1 << 50,
        description="memory of a step over histories, in bytes; larger ones go user block by block",
    )  # fmt: skip
    valid_users: Count | None = Field(
        None, description="users drawn for validation while training (ranking); None: all"
    )
    dimension: Dimension = Field(32, description="embedding dimensions")
    lr: Rate = Field(0.05, description="Adam step size")
    halving_fraction: Fraction = Field(
        1.0, description="share of the epochs that every L2 strength gets before some are dropped"
    )
    halving_keep: Fraction = Field(
        1.0, description="share of the L2 strengths that train to the end"
    )
    l2: Numbers = Field(
        (3.0,), description="L2 strengths tried, summed over rows; validation chooses"
    )
    extend_grid: Whole = Field(
        4, description="L2 strengths tried beyond an end of several, while validation gains"
    )


def _with_main(cutoffs: tuple[int, ...]) -> tuple[int, ...]:
    """Each cut-off once, ascending, 10 of the main metric among them."""
    return tuple(sorted({10, *cutoffs}))


Cutoffs = Annotated[
    tuple[Annotated[int, Field(ge=1, le=1000)], ...],
    Field(strict=False),
    BeforeValidator(lambda value: (value,) if isinstance(value, int) else value),
    AfterValidator(_with_main),
]


class CFConfig(CommonConfig):
    """Collaborative filtering: interactions to a found interaction function and a recommender.

    Examples:
        >>> config = sif.CFConfig(dataset="orders.csv", objective="rating", train={"epochs": 5})
        >>> config.train.epochs
        5
    """

    overlay: ClassVar[str | None] = "objective"
    method_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "nasp": {
            "warmup": 0.5, "arch_start": "half_warmup", "explore": 0.3, "score": "replacement_loss",
            "arch_optimizer": "plain", "arch_lr": 0.3,
        },
        **{name: {"arch_lr": 0.03} for name in RELAXATIONS},
        "random-ws": {"candidates": 100},
    }  # fmt: skip

    task: Literal["cf"] = "cf"
    dataset: NameOrPath = Field("planted", description="a known dataset's name, or a file")
    objective: Objective = Field("ranking", description="what the recommender is for")
    space: str = Field("sif", description="search space")
    spaces: Owned = Field({}, description="settings of spaces of other packages by name")
    losses: Owned = Field({}, description="settings of losses of other packages by name")
    metrics_at: Cutoffs = Field(
        (10, 20), description="lengths of the lists that ranking metrics look at; 10 is always one"
    )
    exclude_seen: ExcludeSeen = Field(
        "all", description="what recommendations leave out: all that a user has in the data, also "
        "what filters dropped; what is trained; or nothing"
    )  # fmt: skip
    refit: Refit = Field(
        "valid", description="once all is chosen, fit every model again before the test: on train "
        "and valid rows; not at all (none); also, after the test, the saved one on all rows (all)"
    )  # fmt: skip
    serve: Literal["best", "searched"] = Field(
        "best", description="model of a job that is saved, in rankings of user and item: of the "
        "searched one and the baselines the best on validation, or a simpler one within a quarter "
        "of a standard error; or the searched one in any case"
    )  # fmt: skip
    retrieval: Retrieval = Field(
        "auto", description="how the served model finds the best items: scores all (exact), or "
        "those that a graph of the items leads to (approximate); auto: approximate from 200,000 "
        "items"
    )  # fmt: skip
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    search: SearchConfig = SearchConfig()
    train: TrainConfig = TrainConfig()
    histories: HistoriesSection = HistoriesSection()
    baselines: Names = Field(
        ("all",), description="models to compare with; 'all': the objective's own, []: none"
    )
    controls: Names = Field(
        ("fixed-multiply", "random-function"),
        description="functions that are trained like the searched one; without fixed-multiply the "
        "searched one is kept even if validation prefers another; []: none",
    )

    @classmethod
    def names_data(cls, given: Mapping[str, Any]) -> bool:
        """True where settings say what the data are, or how to generate ratings or a product."""
        data = given.get("data")
        data = data if isinstance(data, Mapping) else {}
        planted = data.get("planted")
        planted = planted if isinstance(planted, Mapping) else {}
        named = given.get("dataset") is not None or given.get("objective") == "rating"
        brought = any(data.get(key) is not None for key in ("split_file", "query", "table"))
        product = planted.get("kind") == "product" or bool(PlantedConfig.of_product & set(planted))
        return named or brought or product

    @model_validator(mode="after")
    def _no_contradiction(self) -> CFConfig:
        problems = []
        generated = self.dataset == "planted" and self.data.split_file is None
        if generated and self.objective == "rating" and self.data.planted.kind != "product":
            problems.append(
                f"data.planted.kind {self.data.planted.kind!r} has no ratings, which contradicts "
                "objective 'rating'"
            )
        if self.data.split_file is not None and self.data.protocol not in (None, "file"):
            problems.append(
                f"data.protocol {self.data.protocol!r} contradicts data.split_file: "
                "drop one of them, or give protocol 'file'"
            )
        cosine = [
            name
            for name, asked in (
                ("model.similarity cosine", self.model.similarity == "cosine"),
                ("search.stages similarity", "similarity" in self.search.stages),
                ("search.stages loss", "loss" in self.search.stages),
            )
            if asked
        ]
        if cosine and self.objective != "ranking":
            problems.append(f"{' and '.join(cosine)} contradicts objective 'rating'")
        if self.model.similarity == "cosine" and self.space != "staged":
            problems.append("model.similarity cosine needs space 'staged'")
        if self.data.protocol == "file" and self.data.split_file is None:
            problems.append("data.protocol 'file' needs data.split_file")
        if self.data.moment is not None and self.data.protocol != "rolling":
            problems.append("data.moment needs data.protocol 'rolling'")
        if self.data.moment is not None and self.data.moment > self.data.moments:
            problems.append(
                f"data.moment {self.data.moment} contradicts data.moments {self.data.moments}"
            )
        settings = {"context": self.data.context, "time_buckets": self.data.time_buckets}
        further = [f"data.{key}" for key, value in settings.items() if value]
        if further and self.objective == "ranking":
            problems.append(
                f"{' and '.join(further)} contradicts objective 'ranking', which has no context "
                "to rank at: set objective=rating"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self
