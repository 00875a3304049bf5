"""Checks of arguments against the types that public functions and values are annotated with."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from inspect import signature
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from sif.errors import ConfigError, SifError

P = ParamSpec("P")
R = TypeVar("R")
_LENGTH = 60  # characters of a wrong value that are shown
_WORDS: dict[Any, str] = {
    str: "a text", int: "a whole number", float: "a number", bool: "True or False",
    Path: "a path", type(None): "None", Mapping: "names with values", Sequence: "a list",
    tuple: "a list",
}  # fmt: skip


def shown(value: object) -> str:
    """A value as a message shows it: short, and on one line; of tables and arrays the shape."""
    shape = getattr(value, "shape", ())
    if isinstance(shape, tuple) and shape:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _LENGTH else text[: _LENGTH - 3] + "..."


def check_type(name: str, value: Any, hint: Any, error: type[SifError] = ConfigError) -> None:
    """Raises an error that names the argument unless a value has the annotated type.

    Numbers of numpy count as Python's, lists as tuples. Annotations of other kinds than texts,
    numbers, paths, mappings, sequences and classes of sif take everything: whoever reads such a
    value checks it.
    """
    if type(value) not in _plain(hint) and not _fits(value, hint):
        raise error(f"{name}: expected {_words(hint)}, found {shown(value)}")


def check_fields(value: Any, error: type[SifError] = ConfigError, where: str = "") -> None:
    """Checks the fields of a dataclass, see `check_type`; `where` begins the message."""
    kind: Any = type(value)
    for name, hint in _hints(kind).items():
        check_type(where + name, getattr(value, name), hint, error)


def checks_types(function: Callable[P, R]) -> Callable[P, R]:
    """A function that refuses arguments of other types than annotated, see `check_type`."""
    parameters = signature(function)
    places = [
        name for name, one in parameters.parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD
    ]

    @wraps(function)
    def called(*arguments: P.args, **named: P.kwargs) -> R:
        hints = _hints(function)
        for name, value in (*zip(places, arguments, strict=False), *named.items()):
            hint = hints.get(name, Any)
            if hint is not Any and type(value) not in _plain(hint):
                parameters.bind(*arguments, **named)  # a call that cannot be comes first
                check_type(name, value, hint)
        return function(*arguments, **named)

    return called


@cache
def _hints(annotated: Any) -> dict[str, Any]:
    return get_type_hints(annotated)


@cache
def _plain(hint: Any) -> frozenset[type]:
    """Python's own types whose values fit an annotation, whatever they hold: most values."""
    kinds = (bool, int, float, str, type(None))
    return frozenset(kind for kind in kinds if _fits_all(kind, hint))


def _fits_all(kind: type, hint: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits_all(kind, one) for one in get_args(hint))
    if hint is Any or kind is hint:
        return True
    return (kind, hint) == (int, float)


def _fits(value: Any, hint: Any) -> bool:
    kind, inner = get_origin(hint) or hint, get_args(hint)
    plain = value.item() if getattr(value, "shape", None) == () else value
    if kind in (Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if kind is bool:  # 0 and 1 are what other libraries take as well
        return isinstance(plain, int) and plain in (0, 1)
    if kind in (int, float):
        numbers = int if kind is int else int | float
        return isinstance(plain, numbers) and not isinstance(plain, bool)
    if kind is Mapping:
        return isinstance(value, Mapping) and all(
            _fits(key, inner[0]) and _fits(one, inner[1]) for key, one in value.items()
        )
    if kind is tuple and inner[-1] is not Ellipsis:
        pairs = isinstance(value, tuple | list) and len(value) == len(inner)
        return pairs and all(map(_fits, value, inner))
    if kind in (Sequence, tuple):
        listed = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return listed and all(_fits(one, inner[0]) for one in value)
    known = kind in _WORDS or getattr(kind, "__module__", "").startswith("sif.")
    return not known or isinstance(plain, kind)


def _words(hint: Any) -> str:
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_words, inner)))
    if kind is Mapping and inner[1] is not Any:
        return f"names, each with {_words(inner[1])}"
    if kind is tuple and inner[-1] is not Ellipsis:
        return f"({', '.join(map(_words, inner))})"
    if kind in (Sequence, tuple) and inner[0] is not Any:
        return f"a list, each {_words(inner[0])}"
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))
