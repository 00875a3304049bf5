"""Lists of data sets: YAML files that name data, their settings, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from sif.config.files import find_list, read_yaml
from sif.config.messages import validated
from sif.config.sections import Section
from sif.errors import ConfigError

_ENDINGS = (".yaml", ".yml")


class Highest(Section):
    """The highest figure that is known of a data set.

    It is for the reader: nothing is chosen by it.
    """

    value: float = Field(description="in the metric of the entry")
    model: str = Field("", description="whose it is")
    source: str = Field(description="where it is published, and how it was chosen")


class _ListedData(Section):
    """One entry of a list."""

    data: str = Field(description="name of a known data set, or a file")
    name: str | None = Field(None, description="in the table; None: that of the data")
    metric: str | None = Field(None, description="shown in the table; None: the list's")
    highest: Highest | None = Field(None, description="highest figure that is known")
    settings: dict[str, Any] = Field({}, description="of its jobs, nested or by dotted names")


def _entry(value: Any) -> Any:
    """Takes a name or file for an entry without anything else."""
    return {"data": value} if isinstance(value, str) else value


def _some(entries: tuple[_ListedData, ...]) -> tuple[_ListedData, ...]:
    """Refuses a list without entries."""
    if not entries:
        raise ValueError("expected at least one data set, found none")
    return entries


class _DataList(Section):
    """The content of a list."""

    metric: str | None = Field(None, description="of entries without one; None: the objective's")
    settings: dict[str, Any] = Field({}, description="of the jobs of all entries")
    data: Annotated[
        tuple[Annotated[_ListedData, BeforeValidator(_entry)], ...],
        Field(strict=False),
        AfterValidator(_some),
    ]


@dataclass(frozen=True)
class Listed:
    """A data set as it is asked for.

    Attributes:
        data: A known name or a file.
        where: What asks for it, for messages.
        base: Folder that a file may be relative to.
        name: In the table; None: that of the data.
        metric: Shown; None: the objective's.
        highest: Figure that is known.
        layers: Settings of its jobs with their origins, those that win last.
    """

    data: str
    where: str = "data"
    base: Path | None = None
    name: str | None = None
    metric: str | None = None
    highest: Highest | None = None
    layers: Sequence[tuple[str, Mapping[str, Any]]] = field(default=())


def listed(data: Sequence[str | Path]) -> list[Listed]:
    """Everything that is asked for, lists opened.

    Args:
        data: Names of known data sets, files, and lists: YAML files or shipped ones, such as
            "panel/public".

    Raises:
        ConfigError: Nothing is asked for, or a list cannot be read or has another shape.

    Examples:
        >>> len(listed(["ml-100k"])), [one.metric for one in listed(["panel/public"])][:2]
        (1, ['ndcg@20', 'ndcg@20'])
    """
    found = [one for text in map(str, data) for one in _opened(text)]
    if not found:
        raise ConfigError("data: expected at least one data set, found none")
    return found


def _opened(text: str) -> list[Listed]:
    file = find_list(text)
    if file is None and text.endswith(_ENDINGS):
        raise ConfigError(f"{text}: no such file")
    return [Listed(text)] if file is None else _read(file, text)


def _read(file: Path, source: str) -> list[Listed]:
    content = read_yaml(file, source)
    try:
        whole = validated(_DataList, content, ())
    except ConfigError as error:
        raise ConfigError(f"{source}: expected a list of data sets: {error}") from None
    found = []
    for entry in whole.data:
        where = f"{source}: {entry.name or entry.data}"
        layers = ((f"{source}: settings", whole.settings), (where, entry.settings))
        metric = entry.metric or whole.metric
        found.append(
            Listed(entry.data, where, file.parent, entry.name, metric, entry.highest, layers)
        )
    return found
