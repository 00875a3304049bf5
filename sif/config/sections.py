"""The common part of all tasks' configurations: types of values, and the settings of every job.

Every field's description gives its unit. Unknown keys, wrong types, numbers out of range and
settings that contradict each other are refused at construction; names of spaces, methods, datasets
and baselines are checked by the part that owns them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from sif.config.renamed import warn_of_renamed, with_todays_names

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Chance = Annotated[float, Field(ge=0, le=1)]


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def absolute_if_file(name: str) -> str:
    """Makes a dataset's path absolute, so that a job resumed from another folder finds it."""
    path = Path(name).expanduser()
    looks_like_path = os.sep in name or path.suffix != ""
    return str(path.absolute()) if looks_like_path and path.exists() else name


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"expected auto, cpu, cuda or cuda:N, found {name!r}")
    return name


def one_or_many(value: Any) -> Any:
    """Accepts a single name in place of a list."""
    return (value,) if isinstance(value, str) else value


AbsolutePath = Annotated[Path, Field(strict=False), AfterValidator(_absolute)]
Names = Annotated[tuple[str, ...], Field(strict=False), BeforeValidator(one_or_many)]
Numbers = Annotated[tuple[NonNegative, ...], Field(strict=False, min_length=1)]


class Section(BaseModel):
    """A group of settings: frozen, strictly typed, without unknown keys, NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class TrackingConfig(Section):
    """Records of a job outside its run folder."""

    enabled: bool = Field(True, description="record the job in MLflow")
    uri: str | None = Field(
        None, description="MLflow tracking URI; None: the working directory's own store"
    )
    experiment: str = Field("sif", description="MLflow experiment")
    parent: str | None = Field(None, description="MLflow run in which the job's is nested")
    register_as: Annotated[str, Field(pattern=r"^[\w.\- ]*\w$")] | None = Field(
        None, description="name in MLflow's registry that gets a version of the model; None: none"
    )


class CommonConfig(Section):
    """Settings that every task has."""

    overlay: ClassVar[str | None] = None
    """Key whose value names a second preset, laid over configs/<task>/default.yaml."""
    method_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Method to those of its settings that the task's searches start from, not the method's own."""

    task: str = Field(description="name of the task")
    dataset: Annotated[str, AfterValidator(absolute_if_file)] = Field(
        description="a known dataset's name, or a file"
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="root of every random stream")
    device: Annotated[str, AfterValidator(_device)] = Field(
        "auto", description="auto (cuda where there is one), cpu, cuda or cuda:N"
    )
    threads: Count | None = Field(None, description="CPU threads; None: torch's own choice")
    method: str = Field("nasp", description="search method")
    methods: dict[str, dict[str, Any]] = Field(
        {}, description="settings of search methods by name, such as nasp: {explore: 0.2}; "
        "`sif methods` lists them"
    )  # fmt: skip
    output_dir: Annotated[Path, Field(strict=False)] | None = Field(
        None, description="run folder; None: a new one under runs/"
    )
    tracking: TrackingConfig = TrackingConfig()
    checkpoint_seconds: NonNegative = Field(
        10.0, description="seconds between checkpoints, at least; 0: after every epoch"
    )

    @model_validator(mode="before")
    @classmethod
    def _with_todays_names(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        ((_, values),), notes = with_todays_names([("", values)], cls)
        warn_of_renamed(notes)
        return values

    def method_values(self) -> dict[str, dict[str, Any]]:
        """Settings of methods: the given ones over the defaults of the task's searches."""
        methods = {name: dict(values) for name, values in self.method_defaults.items()}
        for name, values in self.methods.items():
            methods[name] = {**methods.get(name, {}), **values}
        return methods
