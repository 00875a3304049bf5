"""Settings under names that they no longer have: the one table of them, and its use when reading.

`--set` items, YAML files, config.yaml of old runs and Python dictionaries may all use old names.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from sif.config.messages import known_keys
from sif.errors import ConfigError

Values = dict[str, Any]
RELAXATIONS = ("darts-1", "darts-2", "snas", "gdas")
"""Methods that share one step size of alpha unless each is given its own."""
_SHOWN = 4  # renamed settings that one line names
_OURS = ("sif", "pydantic", "functools")
"""Packages between the settings of a caller and here."""


class RenamedSetting(DeprecationWarning):
    """Settings were given under names that they no longer have."""


@dataclass(frozen=True)
class Renamed:
    """Where a setting is found today.

    Attributes:
        keys: Dotted names; several where methods now have a setting each.
        values: Pairs of a former value and today's; all other values stay.
    """

    keys: tuple[str, ...]
    values: tuple[tuple[Any, Any], ...] = ()

    def value(self, given: Any) -> Any:
        """Today's value."""
        return next(
            (new for old, new in self.values if type(old) is type(given) and old == given), given
        )


def _of(method: str, key: str, *values: tuple[Any, Any]) -> Renamed:
    return Renamed((f"methods.{method}.{key}",), values)


RENAMED: dict[str, Renamed] = {
    "space": Renamed(("space",), (("rich", "staged"),)),
    "data.protocol": Renamed(("data.protocol",), (("leave-one-out", "last-item"),)),
    "rivals": Renamed(("controls",)),
    "train.cut": Renamed(("train.halving_fraction",)),
    "train.keep": Renamed(("train.halving_keep",)),
    "train.beyond": Renamed(("train.extend_grid",)),
    "search.judge": Renamed(("search.validate_every_epoch",)),
    "search.follow_l2": Renamed(("search.adapt_l2",)),
    "search.normalise": Renamed(("search.normalize",)),
    "search.warmup": _of("nasp", "warmup"),
    "search.arch_start": _of("nasp", "arch_start", (None, "half_warmup")),
    "search.settle": _of("nasp", "settle_steps"),
    "search.explore": _of("nasp", "explore"),
    "search.score": _of("nasp", "score", ("switch", "replacement_loss")),
    "search.arch_optimizer": _of("nasp", "arch_optimizer"),
    "search.arch_lr": _of("nasp", "arch_lr"),
    "search.box": _of("nasp", "alpha_constraint"),
    "search.penalty": _of("nasp", "complexity_penalty"),
    "search.probe_operations": _of("nasp", "probe_operations"),
    "search.probe_rows": _of("nasp", "probe_rows"),
    "search.darts_lr": Renamed(tuple(f"methods.{name}.arch_lr" for name in RELAXATIONS)),
    "search.candidates": _of("random-ws", "candidates"),
    "search.population": _of("nsga2", "population"),
}
"""Former dotted name to where the setting is found today."""

Former = dict[tuple[str, str], str]
"""Where a setting was given and today's name of it, to the former name that stood there."""


def todays_name(key: str) -> str:
    """The dotted name that a setting has today, the first where it has become several."""
    return RENAMED[key].keys[0] if key in RENAMED else key


def with_todays_names(
    layers: Sequence[tuple[str, Mapping[str, Any]]], model: type[BaseModel]
) -> tuple[list[tuple[str, Values]], list[str], Former]:
    """Layers of settings with every setting under the name that it has today.

    Args:
        layers: Where values came from, and the nested values.
        model: Of the task; a former name whose successor the task does not have stays as it is.

    Returns:
        The layers; one note for each former name or value, such as "search.box is now
        methods.nasp.alpha_constraint"; and the former names.

    Raises:
        ConfigError: One source gives a setting under both names, with different values.
    """
    notes: list[str] = []
    former: Former = {}
    given: dict[tuple[str, str], tuple[str, Any]] = {}
    renamed = []
    for origin, layer in layers:
        values = _copy(layer)
        found = [(key, _get(values, key)) for new in RENAMED.values() for key in new.keys]
        pairs = [(key, key, value) for key, value in found if value is not _ABSENT]
        for old, new in RENAMED.items():
            value = _get(values, old)
            if value is _ABSENT or not _known(new.keys[0], model):
                continue
            today = new.value(value)
            if old in new.keys and today is value:
                continue
            notes.append(_note(old, value, new))
            former |= {(origin, key): old for key in new.keys if key != old}
            pairs = [pair for pair in pairs if pair[1] != old]
            _take(values, old)
            for key in new.keys:
                pairs.append((key, old, today))
                _put(values, key, today)
        for key, name, value in pairs:
            other, theirs = given.setdefault((origin, key), (name, value))
            if other != name and theirs != value:
                raise ConfigError(_contradiction(origin, (other, theirs), (name, value)))
        renamed.append((origin, values))
    return renamed, list(dict.fromkeys(notes)), former


def warn_of_renamed(notes: Sequence[str]) -> None:
    """Gives all notes in one `RenamedSetting` warning, at the caller's line outside this package.

    Python shows a `DeprecationWarning` to those alone whose own code causes it.
    """
    if not notes:
        return
    shown, more = ", ".join(notes[:_SHOWN]), len(notes) - _SHOWN
    text = f"old names of settings: {shown}" + (f", and {more} more" if more > 0 else "")
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in _OURS:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, RenamedSetting, stacklevel=level)


def _note(old: str, value: Any, new: Renamed) -> str:
    if old in new.keys:
        return f"{old} {value} is now {new.value(value)}"
    return f"{old} is now {' and '.join(new.keys)}"


def _contradiction(origin: str, *pairs: tuple[str, Any]) -> str:
    (one, mine), (other, theirs) = pairs
    where = f"{origin}: " if origin else ""
    return f"{where}{one} ({mine}) contradicts {other} ({theirs}), the same setting: drop one"


def _known(key: str, model: type[BaseModel]) -> bool:
    *parents, name = key.split(".")
    return parents[:1] == ["methods"] or name in known_keys(model, parents)


_ABSENT = object()


def _copy(values: Mapping[str, Any]) -> Values:
    """With mappings of its own: aliases of YAML share theirs."""
    return {key: _copy(v) if isinstance(v, Mapping) else v for key, v in values.items()}


def _get(values: Any, key: str) -> Any:
    for name in key.split("."):
        if not isinstance(values, Mapping) or name not in values:
            return _ABSENT
        values = values[name]
    return values


def _take(values: Values, key: str) -> None:
    *parents, name = key.split(".")
    for parent in parents:
        values = values[parent]
    del values[name]


def _put(values: Values, key: str, value: Any) -> None:
    *parents, name = key.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            return  # what stands there is refused when it is validated
        values = inner
    values[name] = value
