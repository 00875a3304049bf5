"""Every setting of a run, those at their default apart."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from pydantic import BaseModel

from sif.config import load_config
from sif.config.loading import config_model, dotted
from sif.errors import SifError
from sif.methods.registry import METHODS
from sif.report.files import RunFiles
from sif.report.numbers import short
from sif.report.section import Section

KEYS = ("task", "objective", "dataset")
"""Settings on which the defaults of the others depend."""


def section(run: RunFiles) -> Section:
    """The section."""
    given, usual = dotted_settings(run.config), defaults(run)
    told = descriptions(run.task)
    rows = [
        {
            "key": key, "value": short(value), "default": key in usual and _same(value, usual[key]),
            "usual": short(usual[key]) if key in usual else "", "about": told.get(key, ""),
        }
        for key, value in given.items()
    ]  # fmt: skip
    values = {"rows": rows, "changed": sum(not row["default"] for row in rows)}
    return Section("settings", "Settings", "settings.html", values)


def dotted_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted names; none where they cannot be told apart."""
    try:
        return dotted(config)
    except SifError:
        return {}


def defaults(run: RunFiles) -> dict[str, Any]:
    """The settings that a job of the same task, objective and data has; empty: not known."""
    known = {key: run.config[key] for key in KEYS if run.config.get(key) is not None}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = load_config(run.task, layers=[("run", known)])
    except SifError:
        return {}
    return _of_methods() | dotted(config.model_dump(mode="json"))


@cache
def _models_of_methods() -> dict[str, type[BaseModel]]:
    """The models of the methods' settings, of those that can be imported here."""
    found: dict[str, type[BaseModel]] = {}
    for name in METHODS:
        with suppress(SifError):
            found[name] = METHODS.named(name).settings
    return found


def _of_methods() -> dict[str, Any]:
    """The settings of methods where nothing is said."""
    found: dict[str, Any] = {}
    for name, model in _models_of_methods().items():
        with suppress(ValueError):  # a setting without a default
            values = model().model_dump(mode="json")
            found |= {f"methods.{name}.{key}": value for key, value in values.items()}
    return found


def _same(value: Any, usual: Any) -> bool:
    if isinstance(value, list) and isinstance(usual, tuple | list):
        return list(value) == list(usual)
    return bool(value == usual)


@cache
def descriptions(task: str) -> dict[str, str]:
    """Setting to its description; of a task that is not installed those of methods alone."""
    found: dict[str, str] = {}
    for name, model in _models_of_methods().items():
        found |= _described(model, f"methods.{name}.")
    with suppress(SifError):
        found |= _described(config_model(task), "")
    return found


def _described(model: type[BaseModel], prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= _described(kind, f"{prefix}{name}.")
        elif field.description:
            found[f"{prefix}{name}"] = field.description
    return found
