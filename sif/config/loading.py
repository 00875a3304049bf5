"""Merges preset, file, set items and flags, in rising precedence, into one validated object.

Messages call set items "settings" and flags "arguments"; `sif.cli.main` tells them as its options.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sif.config.cf import CFConfig
from sif.config.cnn import CNNConfig
from sif.config.files import DEEPEST, find_config, parse_yaml, presets, read_yaml, shipped
from sif.config.messages import Origins, describe
from sif.config.renamed import warn_of_renamed, with_todays_names
from sif.config.rnn import RNNConfig
from sif.config.sections import CommonConfig
from sif.errors import ConfigError
from sif.utils.addresses import label_of
from sif.utils.argument_types import checks_types, shown
from sif.utils.paths import exists
from sif.utils.registry import Registry, unknown

TASKS: dict[str, type[CommonConfig]] = {"cf": CFConfig, "cnn": CNNConfig, "rnn": RNNConfig}
OTHER_TASKS: Registry[Any] = Registry("task", "sif.problems", "builtins:object", {}, tuple(TASKS))
"""Those of other packages: name to a `sif.tasks.study.Task`, which this package does not know.

The group is named after a task's problem; an entry is the `Task` that makes a job of it."""
Complete = Callable[[CommonConfig, Origins], CommonConfig]
_NOT_RESULTS: Mapping[str, Any] = {
    "output_dir": True, "tracking": True, "checkpoint_seconds": True, "data": {"reader": True},
}  # fmt: skip
"""Settings that cannot change what is found."""


@checks_types
def load_config(
    task: str | None = None,
    *,
    file: str | Path | None = None,
    sets: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    layers: Sequence[tuple[str, Mapping[str, Any]]] = (),
    complete: Complete | None = None,
    job: bool = False,
) -> CommonConfig:
    """Builds the configuration of one job.

    In falling precedence: layers (the last first), flags, `sets`, `file`, the shipped presets, the
    defaults. The presets are configs/<task>/default.yaml and over it the one that the task's
    overlay key names, such as configs/cf/rating.yaml; that is configs/<task>/own.yaml for images or
    a text of one's own, unless there is a `file`. A job that says nothing of its data has
    configs/<task>/first.yaml over these. Former names of settings are taken, with a
    `RenamedSetting` warning.

    Args:
        task: Name of the task; None takes it from `file`.
        file: Path of a YAML file, or a preset's name such as 'cf/default'.
        sets: Items 'key.sub=value'; the value is YAML.
        flags: Dotted key to value; a value of None was not given.
        layers: Each with the name that messages give it; keys may be dotted, sections nested.
        complete: Checks and completes what no model of this package knows, the settings of
            registered things (`sif.problems.configuration.load_job_config`); None: they stay as
            they were given.
        job: Whether a job on its own is configured, which may do without data: it generates some.

    Returns:
        The validated, frozen configuration of the task.

    Raises:
        ConfigError: All problems found, in one line.

    Examples:
        >>> config = sif.load_config("cf", layers=[("mine", {"train.epochs": 5, "seed": 1})])
        >>> config.train.epochs, config.seed, config.space
        (5, 1, 'staged')
    """
    given = [(str(file), read_yaml(find_config(file), str(file)))] if file is not None else []
    given += map(parsed_item, sets)
    flat = {key: value for key, value in (flags or {}).items() if value is not None}
    given += [("arguments", _nest(key, value)) for key, value in flat.items()]
    given += [
        (origin, _nest(key, value)) for origin, layer in layers for key, value in layer.items()
    ]
    name = _task_name(task, given)
    given.append(("arguments", {"task": name}))
    model = config_model(name)
    below = _preset_layers(name, model, given, alone=file is None)
    if job and not model.names_data(_merge(given)[0]):
        below += _preset(f"{name}/first")
    read, notes, former = with_todays_names([*below, *given], model)
    merged, origins = _merge(read)
    # Whoever runs this configuration means these data, so that `first` does not come over it.
    dataset = model.model_fields["dataset"]
    if not dataset.is_required():
        merged.setdefault("dataset", dataset.default)
    for path, origin in origins.items():
        if (origin, ".".join(path)) in former:  # messages name what was typed
            origins[path] = f"{origin}: {former[origin, '.'.join(path)]}"
    warn_of_renamed(notes)
    try:
        config = model.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(describe(error, model, origins)) from None
    return config if complete is None else complete(config, origins)


def parsed_item(item: str) -> tuple[str, dict[str, Any]]:
    """A set item 'key.sub=value', whose value is YAML, as a layer of `load_config`.

    Raises:
        ConfigError: Anything else.
    """
    key, equals, value = item.partition("=")
    if not equals or not re.fullmatch(rf"\w+(\.[\w-]+){{,{DEEPEST}}}", key):
        raise ConfigError(f"settings: {item}: expected key=value, e.g. train.epochs=50")
    return "settings", _nest(key, parse_yaml(value, f"settings: {item}"))


def task_names() -> tuple[str, ...]:
    """Of this package's tasks, then of registered ones, which are not loaded."""
    return tuple(dict.fromkeys((*TASKS, *OTHER_TASKS.outside())))


def config_model(task: str) -> type[CommonConfig]:
    """The configuration of one of `task_names`.

    Raises:
        ConfigError: What is registered cannot be loaded, or has no configuration.
    """
    if task in TASKS:
        return TASKS[task]
    loaded = OTHER_TASKS.named(task)
    model = getattr(loaded, "config", None)
    if not (isinstance(model, type) and issubclass(model, CommonConfig)):
        raise OTHER_TASKS.refused(task, "a Task of sif.tasks.study", type(loaded).__name__)
    return model


def _task_name(task: str | None, given: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    for origin, layer in given:
        named = layer.get("task")
        if named is not None and task is not None and named != task:
            raise ConfigError(f"{origin}: task: {named!r} contradicts the requested {task!r}")
        task = named if task is None else task
    if task is None:
        raise ConfigError(f"task: expected one of {', '.join(task_names())}, found none")
    known = task_names()
    if not isinstance(task, str) or task not in known:
        raise unknown("task", task, known)
    return task


def _preset_layers(
    task: str, model: type[CommonConfig], given: Sequence[tuple[str, dict[str, Any]]], alone: bool
) -> list[tuple[str, dict[str, Any]]]:
    """The presets below what was given, `alone` or over a file."""
    layers = _preset(f"{task}/default")
    if model.overlay is not None:
        merged, _ = _merge([*layers, *given])
        choice = merged.get(model.overlay, model.model_fields[model.overlay].default)
        layers += _preset(f"{task}/{choice}") or (_own_data(task, choice) if alone else [])
    return layers


def _own_data(task: str, choice: Any) -> list[tuple[str, dict[str, Any]]]:
    """The preset for data of one's own, in place of that of a known data set."""
    own = isinstance(choice, str | Path) and exists(choice)
    return _preset(f"{task}/own") if own else []


def _preset(name: str) -> list[tuple[str, dict[str, Any]]]:
    if name not in presets():
        return []
    return [(f"preset {name}", read_yaml(shipped("configs") / f"{name}.yaml", f"preset {name}"))]


def _nest(key: str, value: Any) -> dict[str, Any]:
    for name in reversed(key.split(".")):
        value = {name: value}
    return dict(value)


def _merge(
    layers: Iterable[tuple[str, Mapping[str, Any]]],
) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """Later layers win, key by key; also tells which layer each value came from."""
    merged: dict[str, Any] = {}
    origins: dict[tuple[str, ...], str] = {}

    def put(target: dict[str, Any], layer: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for key, value in layer.items():
            if not isinstance(key, str):
                raise ConfigError(f"{origin}: {'.'.join(path)}: expected a name, found {key!r}")
            place = (*path, key)
            if isinstance(value, Mapping):
                former = target.get(key)
                target[key] = dict(former) if isinstance(former, dict) else {}
                put(target[key], value, place)
            else:
                target[key] = value
                origins[place] = origin

    for origin, layer in layers:  # noqa: B007 (put reads origin)
        put(merged, layer, ())
    return merged, origins


def _results(config: CommonConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude=_NOT_RESULTS)


def dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names; ConfigError for a key that is no name or has two values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if not isinstance(key, str):
            raise ConfigError(f"settings: expected names such as 'train.epochs', found {key!r}")
        deeper = isinstance(value, Mapping)
        further = dotted(value, f"{prefix}{key}.") if deeper else {f"{prefix}{key}": value}
        for name in further.keys() & flat.keys():
            one, other = shown(flat[name]), shown(further[name])
            if one != other:
                raise ConfigError(f"settings: {name}: expected once, found {one} and {other}")
        flat |= further
    return flat


def config_hash(config: CommonConfig) -> str:
    """8 hex digits over every setting that can change the result."""
    text = json.dumps(_results(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def differences(ours: CommonConfig, other: CommonConfig) -> list[str]:
    """Settings that can change the result and differ, as 'train.epochs: 50 or 200'."""
    a, b = dotted(_results(ours)), dotted(_results(other))
    return [f"{k}: {a.get(k)!r} or {b.get(k)!r}" for k in {**a, **b} if a.get(k) != b.get(k)]


def new_run_folder(config: CommonConfig, now: datetime) -> Path:
    """The folder a new run will write to; nothing is created.

    That is `output_dir`, or runs/<task>-<dataset>-<time>-<config hash>, numbered if it is taken.

    Raises:
        ConfigError: `output_dir` exists and is not an empty folder.
    """
    if config.output_dir is None:
        dataset = re.sub(r"[^\w.-]+", "-", label_of(config.dataset)).strip("-.")[:80] or "data"
        name = f"{config.task}-{dataset}-{now:%Y%m%d-%H%M%S}-{config_hash(config)}"
        folder, count = Path("runs") / name, 1
        while folder.exists():
            count += 1
            folder = Path("runs") / f"{name}-{count}"
        return folder
    folder = config.output_dir
    if exists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(
            f"{folder}: the run folder exists; give another output_dir, or resume {folder}"
        )
    return folder
