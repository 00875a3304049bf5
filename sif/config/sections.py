"""The common part of all configurations: types of values, what every job and every search has.

Every field's description gives its unit. Unknown keys, wrong types, numbers out of range and
settings that contradict each other are refused at construction; names of spaces, methods, datasets
and baselines are checked by the part that owns them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo

from sif.config.messages import NO_ORIGINS, describe
from sif.config.renamed import warn_of_renamed, with_todays_names
from sif.errors import ConfigError
from sif.utils.addresses import FILE_SCHEMES, entered, is_address
from sif.utils.durations import seconds_of
from sif.utils.paths import exists, expanded
from sif.utils.units import Unit

if TYPE_CHECKING:  # it has no public name
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

_LARGEST = 2**63 - 1  # of numpy and torch
Count = Annotated[int, Field(ge=1, le=_LARGEST)]
Dimension = Annotated[int, Field(ge=1, le=65_536), Unit("numbers")]
Threads = Annotated[int, Field(ge=1, le=1024), Unit("threads")]
Whole = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, le=1e36)]  # ten times as much has no float32 step
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, le=1), Unit("share")]
Share = Annotated[float, Field(ge=0, lt=1), Unit("share")]
Chance = Annotated[float, Field(ge=0, le=1), Unit("chance")]


def _absolute(path: Path) -> Path:
    return expanded(path).absolute()


def _absolute_if_file(name: str) -> str:
    """An absolute path, so that the file is found when the job is resumed from elsewhere.

    An address loses its password, since settings are written to files.
    """
    if is_address(name):
        return entered(name)
    path = expanded(name)
    looks_like_path = os.sep in name or path.suffix != ""
    return str(path.absolute()) if looks_like_path and exists(path) else name


def _server(uri: str) -> str:
    """An address of a store without its password; files stay as they are written."""
    return uri if uri.startswith(FILE_SCHEMES) else entered(uri)


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"expected auto, cpu, cuda or cuda:N, found {name!r}")
    return name


def one_or_many(value: Any) -> Any:
    """Accepts a single name in place of a list."""
    return (value,) if isinstance(value, str) else value


def _duration(value: Any) -> float | None:
    """Seconds of a duration; its message without the name that pydantic tells, too."""
    try:
        return seconds_of(value)
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("budget: ")) from None


Duration = Annotated[float | None, BeforeValidator(_duration)]
AbsolutePath = Annotated[Path, Field(strict=False), AfterValidator(_absolute)]
StoreAddress = Annotated[str, AfterValidator(_server)]
NameOrPath = Annotated[str, AfterValidator(_absolute_if_file)]
Names = Annotated[tuple[str, ...], Field(strict=False), BeforeValidator(one_or_many)]
Numbers = Annotated[tuple[NonNegative, ...], Field(strict=False, min_length=1)]


class Section(BaseModel):
    """A group of settings: frozen, strictly typed, without unknown keys, NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """The settings of a model and of the sections in it, by dotted names, in their order.

    Args:
        model: The model.
        prefix: Stands before every name, such as "train.".
    """
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields_of(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, field


class FinishSection(Section):
    """The end of a search in which what it proposes trains alone; samplers have none."""

    share: Share = Field(
        0.0,
        description="share of a search's length in which the selections that its method proposes "
        "train alone, from fresh weights; 0: none, the method's own selection is the result",
    )
    candidates: Annotated[int, Field(ge=2, le=64), Unit("selections")] = Field(
        9,
        description="selections that a method proposes for it; `eta` and `rungs` are those of "
        "methods.successive-halving",
    )


class SearchSection(Section):
    """Length of a search and steps of its weights; a task's own section has further settings.

    The settings of a method are its own (`CommonConfig.methods`).
    """

    epochs: Annotated[Count, Unit("epochs")] = Field(
        50, description="length of the search, in passes over the train part"
    )
    seconds: Annotated[Rate, Unit("CPU seconds")] | None = Field(
        None,
        description="length of the search in CPU seconds, summed over interruptions; None: "
        "`epochs` decides",
    )
    steps: Annotated[Count, Unit("weight steps")] | None = Field(
        None,
        description="length of the search in weight steps, summed over all candidates; None: "
        "`epochs` decides",
    )
    candidate_epochs: Annotated[Count, Unit("epochs")] | None = Field(
        None,
        description="epochs for which a sampler (random, tpe, nsga2, ...) trains each candidate, "
        "successive-halving at most; None: a tenth of `epochs`",
    )
    lr: Annotated[Rate, Unit("step size")] = Field(description="step size of the weights")
    arch_every: Annotated[Count, Unit("weight steps")] = Field(
        1,
        description="weight steps between two architecture steps; DARTS, SNAS, GDAS, ASNG, ASAP, "
        "ENAS and BayesNAS always take 1",
    )
    choices: dict[str, Names] = Field(
        {}, description="operations to choose from by block, such as operation: [multiply, plus]; "
        "blocks that are not named keep all; the page of a run names blocks and operations"
    )  # fmt: skip
    finish: FinishSection = FinishSection()
    objectives: Names = Field(
        (), description="costs to search by beside the error, with or without a bound, such as "
        "[parameters, latency <= 2] (sif objectives)"
    )  # fmt: skip
    pick: str = Field(
        "error", description="point of the front that a sampler with objectives returns: error, "
        "knee, an objective's name (its lowest), or a number, by rising error"
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_budget(self) -> SearchSection:
        if self.seconds is not None and self.steps is not None:
            raise ValueError(
                f"seconds ({self.seconds:g}) contradicts steps ({self.steps}): drop one of them"
            )
        return self

    @property
    def each(self) -> int:
        """Epochs of a candidate."""
        return self.candidate_epochs or max(1, self.epochs // 10)


class TrackingConfig(Section):
    """Records of a job outside its run folder."""

    enabled: bool = Field(True, description="whether the job is recorded in MLflow")
    uri: StoreAddress | None = Field(
        None, description="address of the MLflow store; None: a store in the working directory"
    )
    required: bool = Field(
        False,
        description="whether a job stops when the store cannot be used; false: the job goes on "
        "without it",
    )
    experiment: str = Field("sif", description="name of the MLflow experiment")
    run_name: str | None = Field(
        None, description="name of the job's MLflow run; None: data, method and seed"
    )
    parent: str | None = Field(None, description="MLflow run that contains the run of this job")
    register_as: Annotated[str, Field(pattern=r"^[\w.\- ]*\w$")] | None = Field(
        None,
        description="name in MLflow's registry under which the model is registered; None: not "
        "registered",
    )
    model_mb: Annotated[NonNegative, Unit("MiB")] = Field(
        200.0, description="largest model that MLflow gets a copy of, MiB; a larger one, unless it "
        "is registered, is named there and stays in the run folder"
    )  # fmt: skip


class Constructed(ModelMetaclass):
    """Configurations whose constructor tells in one line what is wrong.

    `load_config` validates without the constructor, since it knows where values came from.
    """

    def __call__(cls: Any, *values: Any, **named: Any) -> Any:
        """Constructs; ConfigError for what is wrong."""
        try:
            return super().__call__(*values, **named)
        except ValidationError as error:
            raise ConfigError(describe(error, cls, NO_ORIGINS)) from None


class CommonConfig(Section, metaclass=Constructed):
    """Settings that every task has.

    Raises:
        ConfigError: An unknown setting, a wrong value or a contradiction, on one line; names of
            methods, spaces and data sets are checked by whoever runs the job.
    """

    overlay: ClassVar[str | None] = None
    """Key whose value names a second preset, laid over configs/<task>/default.yaml."""
    method_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Method to those of its settings that the task's searches start from, not the method's own."""

    task: str = Field(description="name of the task")
    dataset: NameOrPath = Field(description="name of a known data set, or path of a file")
    budget: Annotated[Duration, Unit("seconds")] = Field(
        600.0,
        description="wall time of the job, in seconds or as a text such as 10min; the plan leaves "
        "out what does not fit; None: no limit",
    )
    seed: Annotated[int, Unit("-")] = Field(
        0, ge=0, le=2**32 - 1, description="seed of every random stream"
    )
    device: Annotated[str, AfterValidator(_device)] = Field(
        "auto", description="cpu, cuda, cuda:N, or auto, which takes a GPU where there is one"
    )
    threads: Threads | None = Field(
        None, description="number of CPU threads; None: the choice of torch"
    )
    method: str = Field("nasp", description="name of the search method")
    methods: dict[str, dict[str, Any]] = Field(
        {},
        description="settings of search methods by name, such as nasp: {explore: 0.2}; `sif "
        "methods` lists them",
    )
    output_dir: Annotated[Path, Field(strict=False)] | None = Field(
        None, description="run folder; None: a new folder under runs/"
    )
    tracking: TrackingConfig = TrackingConfig()
    checkpoint_seconds: Annotated[NonNegative, Unit("seconds")] = Field(
        10.0, description="shortest time between two checkpoints; 0: a checkpoint after every epoch"
    )

    @classmethod
    def names_data(cls, given: Mapping[str, Any]) -> bool:
        """True where settings say what the data of a job are.

        Below those that do not, a job has the preset configs/<task>/first.yaml, where there is one.

        Args:
            given: Nested, as somebody gave them.
        """
        return True

    @model_validator(mode="before")
    @classmethod
    def _with_todays_names(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        ((_, values),), notes, _ = with_todays_names([("", values)], cls)
        warn_of_renamed(notes)
        return values

    def method_values(self) -> dict[str, dict[str, Any]]:
        """Settings of methods: the given ones over the defaults of the task's searches."""
        return with_defaults(self.methods, self.method_defaults)


def with_defaults(
    given: Mapping[str, Mapping[str, Any]], defaults: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Settings of methods by name: the given ones over defaults."""
    methods = {name: dict(values) for name, values in defaults.items()}
    for name, values in given.items():
        methods[name] = {**methods.get(name, {}), **values}
    return methods
