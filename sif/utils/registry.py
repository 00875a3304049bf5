"""Objects by name: this package's own, and those that other packages register by entry points.

Both are written "module:attribute", and neither is imported before its name is asked for.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from sif.errors import ConfigError, SifError

Kind = TypeVar("Kind")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'; did you mean 'epochs'?' for the nearest known name, or '' when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def unknown(
    key: str, name: object, known: Iterable[str], error: type[SifError] = ConfigError
) -> SifError:
    """The error for a name, given as `key`, that is not among the known ones."""
    names = list(known)
    hint = did_you_mean(str(name), names)
    return error(f"{key}: expected one of {', '.join(names)}, found {name!r}{hint}")


class Registry(Mapping[str, Kind], Generic[Kind]):
    """The objects of one kind by name; as a mapping, this package's own.

    Args:
        what: A word for one of them, such as "method".
        group: Of the entry points by which other packages register theirs.
        kind: "module:Class" of the registered objects.
        own: Name to "module:attribute" of this package's.
    """

    def __init__(self, what: str, group: str, kind: str, own: Mapping[str, str]) -> None:
        self.what, self.group = what, group
        self._kind, self._own = kind, dict(own)
        self._found: dict[str, Kind] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)

    def __getitem__(self, name: str) -> Kind:
        if name not in self._found:
            self._found[name] = cast(Kind, _attribute(self._own[name]))
        return self._found[name]

    def outside(self) -> tuple[str, ...]:
        """Names that other packages registered; nothing is imported."""
        names = (point.name for point in entry_points(group=self.group))
        return tuple(dict.fromkeys(name for name in names if name not in self._own))

    def names(self) -> tuple[str, ...]:
        """All names, this package's first; nothing is imported."""
        return (*self._own, *self.outside())

    def named(self, name: str, key: str | None = None) -> Kind:
        """The object of a name, this package's own or registered; messages call the setting `key`.

        Raises:
            ConfigError: No package has the name, several do, or the object registered under it
                cannot be imported or is something else.
        """
        if name in self._own:
            return self[name]
        key = self.what if key is None else key
        points = {p.value: p for p in entry_points(group=self.group, name=name)}
        if len(points) > 1:
            packages = ", ".join(sorted(points))
            raise ConfigError(f"{key}: {name} is registered by several packages: {packages}")
        for point in points.values():
            return self._loaded(point, key)
        raise unknown(key, name, self.names())

    def _loaded(self, point: EntryPoint, key: str) -> Kind:
        where = f"{key}: {point.name}: {point.value}"
        try:
            loaded = point.load()
        except Exception as error:  # a foreign package may raise anything on import
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ConfigError(f"{where} cannot be loaded: {reason}") from error
        kind = cast(type[Kind], _attribute(self._kind))
        if not isinstance(loaded, kind):
            raise ConfigError(f"{where}: expected a {kind.__name__}, found {type(loaded).__name__}")
        return loaded


def _attribute(place: str) -> object:
    """The object at "module:attribute"."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
