"""Turns errors of pydantic into one line that names the source, the key and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sif.errors import LONGEST, ConfigError
from sif.utils.argument_types import shown
from sif.utils.registry import did_you_mean

Settings = TypeVar("Settings", bound=BaseModel)
Origins = Mapping[tuple[str, ...], str]
"""Path of keys to where the value there came from."""
NO_ORIGINS: Origins = MappingProxyType({})


def describe(
    error: ValidationError,
    model: type[BaseModel],
    origins: Origins,
    parents: tuple[str, ...] = (),
) -> str:
    """The problems of one validation in one line, joined by '; ', as many as it has room for.

    Args:
        error: Error of pydantic.
        model: The model that was validated; gives the known keys.
        origins: Origin of each value, by its path of keys.
        parents: Keys that lead to the section that was validated.

    Returns:
        E.g. "my.yaml: train.epoch: unknown key; did you mean 'epochs'?".
    """
    lines = []
    for item in error.errors(include_url=False):
        path = (*parents, *(str(part) for part in item["loc"]))
        place = ".".join(path)
        origin = _origin(path, origins)
        parts = dict.fromkeys((origin, place, _problem(item, model)))  # an argument's name once
        lines.append(": ".join(filter(None, parts)))
    shown, rest = lines[:1], lines[1:]
    while rest and len("; ".join([*shown, rest[0]])) <= LONGEST - len("; and 100 more"):
        shown.append(rest.pop(0))
    return "; ".join([*shown, f"and {len(rest)} more"] if rest else shown)


def validated(
    model: type[Settings],
    given: Mapping[str, Any],
    parents: tuple[str, ...],
    origins: Origins = NO_ORIGINS,
) -> Settings:
    """Validates settings against a registered model, such as that of a method.

    Args:
        model: Of the settings.
        given: The values as the caller gave them.
        parents: Keys that lead to them, such as ("methods", "nasp").
        origins: Origins of values, for messages.

    Raises:
        ConfigError: Settings that the model does not have or take.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ConfigError(describe(error, model, origins, parents)) from None


def section_place(section: str, name: str, origins: Origins) -> str:
    """A section, with where its settings of a name were given, such as "my.yaml: methods"."""
    return ": ".join(filter(None, (_origin((section, name), origins), section)))


def _origin(path: tuple[str, ...], origins: Origins) -> str:
    """Source of the value at `path`, of the list or mapping around it, or of what it contains."""
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return origins[path[:length]]
    return next((o for key, o in origins.items() if path and key[: len(path)] == path), "")


def _problem(item: Any, model: type[BaseModel]) -> str:
    kind, value = item["type"], item["input"]
    if kind == "extra_forbidden":
        *parents, key = item["loc"]
        return f"unknown key{did_you_mean(str(key), known_keys(model, parents))}"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    if kind == "too_short":
        return f"expected at least {item['ctx']['min_length']} item(s), found {shown(value)}"
    expected = _expectation(item["msg"], kind)
    hint = ""
    if kind == "literal_error" and isinstance(value, str):
        hint = did_you_mean(value, item["ctx"]["expected"].replace("'", "").split(" or "))
    return f"{expected}, found {shown(value)}{hint}"


def _expectation(message: str, kind: str) -> str:
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "expected a group of keys"
    if kind in ("tuple_type", "list_type"):
        return "expected a list"
    text = message.replace("Input should be ", "expected ").replace(
        "expected a valid", "expected a"
    )
    for words in ("greater than", "less than"):
        text = text.replace(f"expected {words}", f"expected a number {words}")
    return text.replace("expected a integer", "expected an integer")


def known_keys(model: type[BaseModel], parents: Iterable[Any]) -> list[str]:
    """Names of the fields of the section that `parents` leads to."""
    for name in parents:
        field = model.model_fields.get(str(name))
        section = field.annotation if field else None
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return []
        model = section
    return list(model.model_fields)
