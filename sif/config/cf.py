"""The configuration of collaborative filtering."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

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
from sif.utils.units import Unit


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
    users: Annotated[Count, Unit("users")] = Field(600, description="number of generated users")
    items: Annotated[Count, Unit("items")] = Field(400, description="number of generated items")
    length: Annotated[int, Field(ge=8, le=10_000), Unit("items")] = Field(
        50, description="items of a user on average, in histories"
    )
    operation: str = Field("multiply", description="true operation O of the two vectors")
    transforms: Names = Field(
        ("identity", "identity"), description="true element-wise function of each field"
    )
    dimension: Dimension = Field(2, description="length of the true vectors")
    density: Fraction = Field(0.1, description="share of all pairs that is observed")
    noise: Annotated[NonNegative, Unit("signal deviations")] = Field(
        0.3, description="standard deviation of the noise, as a multiple of that of the signal"
    )

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

    user: str | None = Field(
        None, description="column of the user id; None: recognized by its name"
    )
    item: str | None = Field(
        None, description="column of the item id; None: recognized by its name"
    )
    rating: str | None = Field(
        None, description="column of the rating; None: recognized by its name"
    )
    timestamp: str | None = Field(
        None, description="column of the time; None: recognized by its name"
    )
    separator: Annotated[str | None, BeforeValidator(_unescaped)] = Field(
        None, description="character between two columns; None: found by looking at the file"
    )
    context: ContextNames = Field(
        (),
        description="further columns that are read as ids; each becomes a field of the function "
        "(ratings only)",
    )
    query: str | None = Field(None, description="query to a database that returns the rows")
    table: str | None = Field(None, description="table of a database, in place of a query")
    time_buckets: Annotated[Annotated[int, Field(ge=2)], Unit("buckets")] | None = Field(
        None,
        description="number of buckets of a generated field 'time'; each bucket holds equally many "
        "train rows",
    )
    stream: bool | Literal["auto"] = Field(
        "auto",
        description="whether files are read piece by piece, for rows that do not fit in memory; "
        "auto: folders, Parquet from 64 MiB, text from 512 MiB",
    )
    reader: Literal["local", "ray"] = Field(
        "local", description="who decodes Parquet files: this process, or Ray Data on the cluster "
        "of RAY_ADDRESS, or on a Ray of this machine for that time; the rows are the same"
    )  # fmt: skip
    scratch: AbsolutePath | None = Field(
        None,
        description="folder for the files of a reading by pieces, which stay there for later jobs; "
        "None: a folder beside the run folder that is removed",
    )
    order: Literal["time", "rows"] | None = Field(
        None,
        description="what tells which interaction came first: the time, or the order of the rows; "
        "None: the time where there is one",
    )
    min_rating: Annotated[float, Unit("rating units")] | None = Field(
        None, description="ratings below this value are dropped"
    )
    min_user: Annotated[Count, Unit("interactions")] = Field(
        1, description="users with fewer interactions are dropped"
    )
    min_item: Annotated[Count, Unit("interactions")] = Field(
        1, description="items with fewer interactions are dropped"
    )
    since: Annotated[Moment, Unit("seconds since 1970")] | None = Field(
        None,
        description="earlier interactions are dropped, though their users keep these items; a "
        "number of seconds or an ISO date",
    )
    until: Annotated[Moment, Unit("seconds since 1970")] | None = Field(
        None,
        description="interactions at this time or later are dropped as if they had not happened "
        "yet; a number of seconds or an ISO date",
    )
    duplicates: Literal["last", "first", "mean", "error"] = Field(
        "last",
        description="rule for several rows of the same pair: keep the last, keep the first, take "
        "the mean, or stop",
    )
    protocol: str | None = Field(
        None, description="name of the split protocol; None: that of the objective"
    )
    moments: Annotated[int, Field(ge=2, le=8), Unit("moments")] = Field(
        3,
        description="test moments of protocol rolling; they lie a tenth of the rows apart",
    )
    moment: Annotated[Count, Unit("moment, from 1")] | None = Field(
        None, description="the only moment of protocol rolling that the job runs; None: all moments"
    )
    split_file: AbsolutePath | None = Field(
        None,
        description="file or folder with a split made elsewhere; the name of the data set is then "
        "only a label",
    )
    item_features: AbsolutePath | None = Field(
        None, description="table of features of items, keyed by id: categories, tags, numbers, "
        "texts and vectors; CSV, Parquet and the like"
    )  # fmt: skip
    user_features: AbsolutePath | None = Field(
        None, description="table of features of users, as of items"
    )
    feature_kinds: dict[str, str] = Field(
        {}, description="column of a table of features to its kind: category, tags, number, text, "
        "vector or ignore; others are recognized by their values"
    )  # fmt: skip
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

    biases: bool | None = Field(
        None,
        description="whether the model has user and item biases; None: the choice of the objective",
    )
    init: Annotated[Rate, Unit("embedding units")] = Field(
        0.1, description="standard deviation of the initial embeddings"
    )
    history_power: Annotated[float, Field(ge=0, le=1), Unit("power")] = Field(
        0.5,
        description="a history is the sum over its n pairs, times n to the minus this power (space "
        "staged)",
    )
    readout_signs: Literal["mixed", "positive"] = Field(
        "mixed", description="initial signs of the readout: alternating, or all positive"
    )
    similarity: Literal["product", "cosine"] = Field(
        "product",
        description="product: vectors as they are; cosine: vectors scaled to length 1 (rankings in "
        "space staged)",
    )


Objective = Literal["ranking", "rating"]
ExcludeSeen = Literal["all", "trained", "none"]
Refit = Literal["none", "valid", "all"]
Retrieval = Literal["auto", "exact", "approximate"]
Owned = dict[str, dict[str, Any]]
"""Name of something that is registered to the settings of its own."""
Stage = Literal[
    "closed", "order", "encoding", "embedding", "operation", "weighting", "similarity", "loss",
    "features",
]  # fmt: skip
OWN_STAGES = ("closed", "order")
"""Stages that are models of their own, beside the functions of pairs."""


class LossConfig(Section):
    """The loss that training minimizes."""

    name: str | None = Field(
        None, description="name of the loss; None: that of the objective, whole-data or squared"
    )
    positive_weight: Annotated[NonNegative, Unit("weight")] = Field(
        3.0,
        description="weight of an observed pair on top of the weight 1 that every pair has "
        "(whole-data)",
    )
    negatives: Annotated[Count, Unit("draws per observed pair")] = Field(
        2, description="items (bpr, bce) or pairs (whole-data) drawn for each observed pair"
    )
    samples: Annotated[Count, Unit("items per batch")] = Field(
        1024,
        description="items drawn for each batch where a loss over the catalog does not see all "
        "items: beyond 20,000 items; an eighth as many where scores are no product",
    )
    sampling: Literal["uniform", "popularity", "in-batch"] = Field(
        "uniform",
        description="how items are drawn: uniformly, by popularity, or from the other rows of the "
        "batch",
    )
    sampling_power: Annotated[float, Field(ge=0, le=2), Unit("power")] = Field(
        0.75, description="power of the popularity by which items are drawn"
    )
    history_l2: Annotated[NonNegative, Unit("times an embedding's L2")] = Field(
        1.0, description="L2 of a row that a history sums"
    )
    bias_l2: Annotated[NonNegative, Unit("times an embedding's L2")] = Field(
        1.0, description="L2 of a bias"
    )
    l2_scaling: Literal["plain", "sqrt", "linear"] = Field(
        "sqrt", description="how the L2 of a row grows with its number of interactions"
    )


def _of_functions(stages: tuple[str, ...]) -> tuple[str, ...]:
    """Stages of which one at least is of functions, with which other models are compared."""
    if set(stages) <= {"closed", "order"}:
        told = " and ".join(stages)
        raise ValueError(f"expected a stage of functions beside {told}, found {told} alone")
    return stages


class SearchConfig(SearchSection):
    """The search for the interaction function."""

    epochs: Annotated[Count, Unit("epochs")] = Field(
        60, description="length of the search, in passes over the train part"
    )
    batch_size: Annotated[Count, Unit("interactions")] | None = Field(
        None, description="interactions per weight step; None: all"
    )
    max_interactions: Annotated[Count, Unit("interactions")] | None = Field(
        1_000_000,
        description="largest number of train interactions that the search sees; whole users are "
        "drawn; None: all",
    )
    dimension: Dimension = Field(8, description="length of the embeddings during the search")
    lr: Annotated[Rate, Unit("step size")] = Field(
        0.05, description="Adam step size of the weights"
    )
    l2: Annotated[NonNegative, Unit("L2 strength")] = Field(
        3.0, description="L2 strength during the search, in the units of train.l2"
    )
    adapt_l2: bool = Field(
        True,
        description="whether l2 moves beyond the ends of train.l2 where fixed multiply prefers "
        "that (primitives, staged)",
    )
    stages: Annotated[
        tuple[Stage, ...],
        Field(strict=False, min_length=1),
        BeforeValidator(one_or_many),
        AfterValidator(_of_functions),
    ] = Field(
        ("closed", "order", "encoding", "embedding", "operation", "weighting", "features"),
        description="stages of space staged that are searched, features where the data have some; "
        "the others stay neutral",
    )
    tables: Literal["own", "shared"] = Field(
        "own",
        description="own: each operation has embeddings of its own; shared: all operations share "
        "one set (sif, primitives)",
    )
    validate_every_epoch: bool = Field(
        False,
        description="whether validation judges the selection after every epoch, off the clock; "
        "samplers and random-ws always do so",
    )
    arch_every: Annotated[Count, Unit("weight steps")] = Field(
        2,
        description="weight steps between two steps of alpha and of learned transforms; DARTS, "
        "SNAS, GDAS, ASNG, ASAP, ENAS and BayesNAS always take 1",
    )
    transform_lr: Annotated[Rate, Unit("step size")] = Field(
        0.003, description="Adam step size of learned transforms"
    )
    transform_offset: Annotated[float, Unit("embedding units")] = Field(
        0.0, description="learned transforms start at x plus this number (space sif)"
    )


class TrainConfig(Section):
    """The training of the searched function, from scratch."""

    epochs: Annotated[Count, Unit("epochs")] = Field(
        500, description="largest number of passes over the train part"
    )
    patience: Annotated[Count, Unit("validations")] = Field(
        5, description="validations without a better metric after which training stops"
    )
    evaluate_every: Annotated[Count, Unit("epochs")] = Field(
        5, description="epochs between two validations"
    )
    batch_size: Annotated[Count, Unit("interactions")] | None = Field(
        None, description="interactions per step; None: all; not used with blocks"
    )
    block_pairs: Annotated[Count, Unit("interactions")] | None = Field(
        None,
        description="interactions of a step over some of the users; None: all up to 2,000,000 "
        "train interactions, a 64th beyond",
    )
    block_bytes: Annotated[int, Unit("bytes")] = Field(
        1 << 32,
        ge=1 << 10,
        le=1 << 50,
        description="memory that a step over histories may take; larger steps go through the users "
        "block by block",
    )
    valid_users: Annotated[Count, Unit("users")] | None = Field(
        None, description="users drawn for the validations of a training (rankings); None: all"
    )
    dimension: Dimension = Field(32, description="length of the embeddings")
    lr: Annotated[Rate, Unit("step size")] = Field(0.05, description="Adam step size")
    halving_fraction: Fraction = Field(
        1.0, description="share of the epochs that every L2 strength gets before some are dropped"
    )
    halving_keep: Fraction = Field(
        1.0, description="share of the L2 strengths that train to the end"
    )
    l2: Annotated[Numbers, Unit("L2 strength")] = Field(
        (3.0,), description="L2 strengths to try; validation chooses one"
    )
    extend_grid: Annotated[Whole, Unit("strengths")] = Field(
        4,
        description="further L2 strengths to try beyond the end of the list, as long as validation "
        "gains",
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
        **{name: {"arch_lr": 0.03} for name in (*RELAXATIONS, "asap")},
        "enas": {"arch_lr": 3.5e-3},
        "random-ws": {"candidates": 100},
    }  # fmt: skip

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None:
            """Sections may be dictionaries, and names former ones, which the fields do not say."""

    task: Literal["cf"] = Field("cf", description="name of the task")
    dataset: NameOrPath = Field(
        "planted", description="name of a known data set, or path of a file"
    )
    objective: Objective = Field(
        "ranking", description="ranking: order the items of each user; rating: predict ratings"
    )
    space: str = Field("sif", description="name of the search space")
    spaces: Owned = Field({}, description="settings of spaces of other packages, by name")
    losses: Owned = Field({}, description="settings of losses, by name")
    metrics_at: Annotated[Cutoffs, Unit("items")] = Field(
        (10, 20),
        description="lengths of the lists that ranking metrics look at; 10 is always among them",
    )
    exclude_seen: ExcludeSeen = Field(
        "all",
        description="items that recommendations leave out: all that the user has in the data, "
        "those that were trained, or none",
    )
    refit: Refit = Field(
        "valid",
        description="valid: fit every model again on train and valid rows before the test; none: "
        "do not; all: also fit the saved model on all rows after the test",
    )
    serve: Literal["best", "searched"] = Field(
        "best",
        description="best: save the model that validation ranks best, or a simpler one that is "
        "nearly as good; searched: save the searched function",
    )
    serve_by: str | None = Field(
        None,
        description="what validation chooses the saved model by, of rankings: a metric, and bounds "
        "on others, such as 'ndcg@10, coverage@10 >= 0.3'; null: ndcg@10 alone",
    )
    retrieval: Retrieval = Field(
        "auto",
        description="exact: score all items; approximate: score those that a graph of the items "
        "leads to; auto: approximate from 200,000 items",
    )
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    search: SearchConfig = SearchConfig()
    train: TrainConfig = TrainConfig()
    histories: HistoriesSection = HistoriesSection()
    baselines: Names = Field(
        ("all",),
        description="names of classical models to compare with; all: those of the objective; []: "
        "none",
    )
    controls: Names = Field(
        ("fixed-multiply", "random-function"),
        description="functions that are trained like the searched one; without fixed-multiply the "
        "searched function is always kept; []: none",
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
        problems = [*self._data_contradictions(), *self._model_contradictions()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _data_contradictions(self) -> Iterator[str]:
        data, generated = self.data, self.dataset == "planted" and self.data.split_file is None
        if generated and self.objective == "rating" and data.planted.kind != "product":
            yield (
                f"data.planted.kind {data.planted.kind!r} has no ratings, which contradicts "
                "objective 'rating'"
            )
        if data.split_file is not None and data.protocol not in (None, "file"):
            yield (
                f"data.protocol {data.protocol!r} contradicts data.split_file: "
                "drop one of them, or give protocol 'file'"
            )
        if data.protocol == "file" and data.split_file is None:
            yield "data.protocol 'file' needs data.split_file"
        if data.moment is not None and data.protocol != "rolling":
            yield "data.moment needs data.protocol 'rolling'"
        if data.moment is not None and data.moment > data.moments:
            yield f"data.moment {data.moment} contradicts data.moments {data.moments}"
        settings = {"context": data.context, "time_buckets": data.time_buckets}
        further = [f"data.{key}" for key, value in settings.items() if value]
        if further and self.objective == "ranking":
            yield (
                f"{' and '.join(further)} contradicts objective 'ranking', which has no context "
                "to rank at: set objective=rating"
            )

    def _model_contradictions(self) -> Iterator[str]:
        asked = {
            "model.similarity cosine": self.model.similarity == "cosine",
            "search.stages similarity": "similarity" in self.search.stages,
            "search.stages loss": "loss" in self.search.stages,
        }
        of_rankings = [name for name, is_asked in asked.items() if is_asked]
        if of_rankings and self.objective != "ranking":
            yield f"{' and '.join(of_rankings)} contradicts objective 'rating'"
        if self.model.similarity == "cosine" and self.space != "staged":
            yield "model.similarity cosine needs space 'staged'"
        if self.serve_by is not None:
            if self.objective != "ranking":
                yield "serve_by contradicts objective 'rating'"
            if self.serve != "best":
                yield f"serve_by contradicts serve {self.serve!r}"
            if self.train.valid_users is not None:  # lists of other users cover other items
                yield "serve_by contradicts train.valid_users"
