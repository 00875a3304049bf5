"""Configurations of jobs with the settings of their methods checked and filled in.

`sif.config` knows no method. What it loads holds the settings of methods as they were given; here
each method's own model takes them, so that a job says the same whoever wrote the method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sif.config import CommonConfig, load_config
from sif.config.loading import Origins
from sif.errors import ConfigError
from sif.methods.registry import METHODS, NO_ORIGINS, configured, method_named, method_names

Config = TypeVar("Config", bound=CommonConfig)


def resolved(config: Config, origins: Origins = NO_ORIGINS) -> Config:
    """The configuration with all settings of this package's methods, and of others that it names.

    Args:
        config: Of a job.
        origins: Where its values came from, for messages.

    Raises:
        ConfigError: A method that nobody has, or a setting that its method does not have or take.
    """
    problems: list[str] = []
    methods: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys((*METHODS, *config.methods, *_others(config))):
        try:
            method_named(name, _place(name, origins))
            settings = configured(name, config.methods, origins=origins).settings
        except ConfigError as error:
            problems.append(str(error))
            continue
        if values := settings.model_dump(mode="json"):
            methods[name] = values
    if problems:
        raise ConfigError("; ".join(problems))
    return config.model_copy(update={"methods": methods})


def _others(config: CommonConfig) -> set[str]:
    """Methods of other packages that take part."""
    return {config.method, *getattr(config, "baselines", ())} & set(method_names())


def _place(name: str, origins: Origins) -> str:
    """Where settings of a method were given."""
    start = ("methods", name)
    origin = next((o for path, o in origins.items() if path[: len(start)] == start), "")
    return f"{origin}: methods" if origin else "methods"


def load_job_config(
    task: str | None,
    *,
    file: str | Path | None = None,
    sets: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    layers: Sequence[tuple[str, Mapping[str, Any]]] = (),
) -> CommonConfig:
    """`sif.config.load_config`, with the settings of methods checked and filled in.

    Raises:
        ConfigError: All problems found, in one line.
    """
    return load_config(task, file=file, sets=sets, flags=flags, layers=layers, complete=resolved)
