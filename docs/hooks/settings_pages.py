"""The pages of settings, from the pydantic models that check them.

`settings_of` walks over a model; `Setting` is what one row of a page says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sif.config import TASKS, CommonConfig
from sif.config.sections import fields_of
from sif.methods.registry import METHODS
from sif.problems.configuration import load_job_config
from sif.spaces.interaction.registry import LOSSES
from sif.utils.units import Unit

_UNBOUNDED = 1e18
"""A bound from here on stands for what a machine can hold, and is not shown."""


@dataclass(frozen=True)
class Setting:
    """One setting of a model.

    Attributes:
        key: Its dotted name.
        field: The field of the model.
        parts: The types that a value may have, with the remarks of each.
    """

    key: str
    field: FieldInfo
    parts: tuple[tuple[Any, tuple[Any, ...]], ...]

    @property
    def is_number(self) -> bool:
        """Whether a value may be a number, or a list of them."""
        return any(kind in (int, float) for kind, _ in self.parts)

    @property
    def units(self) -> list[str]:
        """The units of its numbers."""
        return [m.name for kind, remarks in self.parts for m in remarks if isinstance(m, Unit)]

    @property
    def bounds(self) -> list[str]:
        """The range of every number that it may be, such as "0 < x ≤ 1"."""
        return [_range(remarks) for kind, remarks in self.parts if kind in (int, float)]

    @property
    def values(self) -> str:
        """The values that it takes, in Markdown."""
        return " or ".join(dict.fromkeys(_values(kind, remarks) for kind, remarks in self.parts))


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[Setting]:
    """Every setting of a model and of the sections in it, in their order."""
    for key, field in fields_of(model, prefix):
        yield Setting(key, field, tuple(_parts(field.annotation, tuple(field.metadata))))


def _parts(kind: Any, remarks: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Types without unions, lists and remarks, each with the remarks that hold for it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        inner, *more = arguments
        yield from _parts(inner, (*remarks, *_flat(more)))
    elif origin in (Union, UnionType):
        for one in arguments:
            yield from _parts(one, remarks)
    elif origin is tuple:
        yield from _parts(arguments[0], (*remarks, "list"))
    else:
        yield kind, remarks


def _flat(remarks: Iterable[Any]) -> Iterator[Any]:
    for one in remarks:
        if isinstance(one, FieldInfo):
            yield from one.metadata
        else:
            yield one


def _range(remarks: Iterable[Any]) -> str:
    low, high = "", ""
    for one in remarks:
        match one:
            case at.Ge(ge=value):
                low = f"{value:g} ≤ "
            case at.Gt(gt=value):
                low = f"{value:g} < "
            case at.Le(le=value) if value < _UNBOUNDED:
                high = f" ≤ {value:g}" if value < 1e6 else f" ≤ {value:,}"
            case at.Lt(lt=value):
                high = f" < {value:g}"
    if low and not high:
        return {"≤": "≥ ", "<": "> "}[low[-2]] + low[:-3]
    return f"{low}x{high}" if low or high else ""


def _values(kind: Any, remarks: tuple[Any, ...]) -> str:
    if kind is NoneType:
        return "`null`"
    if get_origin(kind) is Literal:
        text = ", ".join(f"`{value}`" for value in get_args(kind))
    elif kind is bool:
        text = "`true`, `false`"
    elif kind in (int, float):
        text = " ".join(["whole number" if kind is int else "number", _range(remarks)]).strip()
    elif kind is str:
        text = "text"
    elif kind is Path:
        text = "path"
    else:
        text = "settings by name"
    return f"list of {text}" if "list" in remarks else text


def _shown(value: Any) -> str:
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _meaning(setting: Setting) -> str:
    told = re.sub(r"\bNone\b", "`null`", setting.field.description or "")
    told = told.replace("|", "\\|").replace("<unk>", "`<unk>`")
    named = [
        str(v) for kind, _ in setting.parts if get_origin(kind) is Literal for v in get_args(kind)
    ]
    for value in named:  # "all: ..." begins with a value, and is no sentence
        told = re.sub(rf"(^|; ){re.escape(value)}:", rf"\1`{value}`:", told)
    return f"{told[:1].upper()}{told[1:]}."


def _row(setting: Setting, default: str) -> str:
    unit = ", ".join(dict.fromkeys(setting.units)) or "-"
    values = re.sub(r" (?=[≤<≥>x])|(?<=[≤<≥>]) ", "&nbsp;", setting.values)  # ranges stay whole
    return f"| `{setting.key}` | {default} | {values} | {unit} | {_meaning(setting)} |"


_TABLE = "| setting | default | values | unit | meaning |\n|---|---|---|---|---|"


def _sections(settings: Iterable[Setting], defaults: Mapping[str, str]) -> Iterator[str]:
    """Tables by the part of the name before the last dot."""
    groups: dict[str, list[Setting]] = {}
    for setting in settings:
        groups.setdefault(setting.key.rpartition(".")[0], []).append(setting)
    for name, members in groups.items():
        rows = [_row(one, defaults[one.key]) for one in members]
        yield "\n".join([f"## {f'`{name}`' if name else 'The job'}", "", _TABLE, *rows, ""])


def _configured(task: str) -> dict[str, CommonConfig]:
    """The configurations whose values are the defaults: of a ranking and of a rating job, too."""
    if task != "cf":
        return {"": load_job_config(task)}
    return {
        name: load_job_config(task, sets=[f"objective={name}"]) for name in ("ranking", "rating")
    }


def _defaults(task: str, settings: Iterable[Setting]) -> dict[str, str]:
    jobs, found = _configured(task), {}
    for setting in settings:
        told = {}
        for name, job in jobs.items():
            value: Any = job
            for part in setting.key.split("."):
                value = getattr(value, part)
            told[name] = _shown(value)
        chooses = setting.key == type(jobs[next(iter(jobs))]).overlay  # and differs by itself
        values = list(dict.fromkeys(told.values()))[: 1 if chooses else None]
        found[setting.key] = (
            values[0] if len(values) == 1 else "; ".join(f"{n}: {v}" for n, v in told.items())
        )
    return found


_INDEX = """\
# Settings

These pages are generated from the models in `sif/config` that check every setting.

Give a setting on the command line as `--set key=value`, in a YAML file that `--config` names, or
in Python as `sif.CFConfig(train={"epochs": 5})`. A nested section of a YAML file is a dotted name:
`train.epochs` is `epochs` in the section `train`. `null` in YAML is `None` in Python.

Later sources win: the preset of the task, the preset of the objective or data set, your file,
`--set`, then options such as `--seed`. An unknown key, a wrong type or a number out of range ends
the command with one line. The file `config.yaml` of a run holds every setting that the run used.

- [Settings of `--task cf`](cf.md): interaction functions and recommenders
- [Settings of `--task cnn`](cnn.md): cells for images
- [Settings of `--task rnn`](rnn.md): recurrent cells for text
- [Settings of methods and losses](methods.md): what each search method and each loss owns
- [Deprecated names](../renamed-settings.md)

## Settings of every task

The defaults are those of the default job. A preset may set other values.

"""
_TITLES = {
    "cf": "Settings of interaction functions (`--task cf`)",
    "cnn": "Settings of cells for images (`--task cnn`)",
    "rnn": "Settings of recurrent cells (`--task rnn`)",
}
_CF_NOTE = (
    "Where rankings and ratings start from different values, the table names both. `None` of a "
    "description that a preset fills in is not shown.\n"
)
_METHODS = """\
# Settings of methods and losses

A method or a loss owns its settings. Their names begin with `methods.NAME` or `losses.NAME`.
`sif methods` and `sif losses` print the same lists, with those of other packages.

"""


def settings_pages() -> dict[str, str]:
    """Name of a page below reference/settings/ to its Markdown."""
    common = {setting.key for setting in settings_of(CommonConfig)}
    shared = [s for s in settings_of(TASKS["cf"]) if s.key in common and s.key not in _OWN]
    told = _defaults("cf", shared)
    pages = {"index.md": _INDEX + "\n".join(_sections(shared, told)).replace("## ", "### ")}
    for task, title in _TITLES.items():
        own = [s for s in settings_of(TASKS[task]) if s.key not in common or s.key in _OWN]
        body = "\n".join(_sections(own, _defaults(task, own)))
        note = "Settings that all tasks share are on [another page](index.md).\n"
        pages[f"{task}.md"] = f"# {title}\n\n{note}\n{body}"
    pages["methods.md"] = _METHODS + "\n".join(_owned())
    return pages


_OWN = ("task", "dataset")
"""Settings of every task whose default or meaning each task has of its own."""


def _owned() -> Iterator[str]:
    starts = {task: load_job_config(task).method_values() for task in TASKS}
    for section, registry in (("methods", METHODS), ("losses", LOSSES)):
        for name in registry:
            model = registry[name].settings
            settings = list(settings_of(model, f"{section}.{name}.")) if model else []
            if not settings:
                continue
            rows = [_row(one, _start(one, section, name, starts)) for one in settings]
            yield "\n".join([f"## `{section}.{name}`", "", _TABLE, *rows, ""])


def _start(
    setting: Setting, section: str, name: str, starts: Mapping[str, Mapping[str, Any]]
) -> str:
    """The default of the model, and the values from which the jobs of a task start."""
    told = [_shown(setting.field.default)]
    if section == "methods":
        key = setting.key.rpartition(".")[2]
        values = {task: jobs.get(name, {}).get(key) for task, jobs in starts.items()}
        told += [
            f"{task}: {_shown(value)}"
            for task, value in values.items()
            if value is not None and _shown(value) != told[0]
        ]
    return "; ".join(told)
