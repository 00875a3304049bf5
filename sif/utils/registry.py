"""Objects by name: this package's own, and those that other packages register by entry points.

Both are written "module:attribute", and neither is imported before its name is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from sif.errors import ConfigError, SifError

Kind = TypeVar("Kind")


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to another one, or None when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return near[0] if near else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'; did you mean 'epochs'?' for the nearest known name, or '' when none is near."""
    near = nearest_name(name, known)
    return "" if near is None else f"; did you mean {near!r}?"


def unknown(
    key: str, name: object, known: Iterable[str], error: type[SifError] = ConfigError
) -> SifError:
    """The error for a name, given as `key`, that is not among the known ones."""
    names = list(known)
    hint = did_you_mean(str(name), names)
    return error(f"{key}: expected one of {', '.join(names)}, found {name!r}{hint}")


def summary(function: Callable[..., Any]) -> str:
    """First line of the docstring of a function, a class, or what a `partial` calls; for lists."""
    return (inspect.getdoc(getattr(function, "func", function)) or "").partition("\n")[0]


class NameTaken(UserWarning):
    """Another package registered something under a name of this package, which stays."""


def check_fields(value: Any, functions: Mapping[str, str], settings: type) -> None:
    """Checks the fields of a value to register, when its author makes it.

    Args:
        value: With a field `settings`.
        functions: Names of its functions to the names of their arguments, such as "batch, gates".
        settings: Class from which the model of its settings derives, unless it is the default.

    Raises:
        ConfigError: A function that does not take the arguments, or another `settings`.
    """
    kind, model = type(value).__name__, value.settings
    for name, arguments in functions.items():
        try:
            inspect.signature(getattr(value, name)).bind(*arguments.split(", "))
        except TypeError as error:
            raise ConfigError(
                f"{kind}.{name}: expected a function of ({arguments}), found {error}"
            ) from None
        except ValueError:  # compiled functions may have no signature
            continue
    derived = isinstance(model, type) and issubclass(model, settings)
    if not derived and model is not type(value).settings:
        expected = f"a class derived from {settings.__name__}"
        raise ConfigError(f"{kind}.settings: expected {expected}, found {model!r}")


class Registry(Mapping[str, Kind], Generic[Kind]):
    """The objects of one kind by name; as a mapping, this package's own.

    Args:
        what: A word for one of them, such as "method".
        group: Of the entry points by which other packages register theirs.
        kind: "module:Class" of the registered objects.
        own: Name to "module:attribute" of this package's.
        taken: Further names that other packages cannot have.
    """

    def __init__(
        self, what: str, group: str, kind: str, own: Mapping[str, str], taken: Collection[str] = ()
    ) -> None:
        self.what, self.group = what, group
        self._kind, self._own = kind, dict(own)
        self._taken = {*own, *taken}
        self._found: dict[str, Kind] = {}
        self._has_warned = False

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
        points = entry_points(group=self.group)
        for point in points:
            if point.name in self._taken and not self._has_warned:
                text = f"{self.what} {point.name}: {_place(point)} is ignored, the name is sif's"
                warnings.warn(text, NameTaken, stacklevel=2)
        self._has_warned = True
        return tuple(dict.fromkeys(p.name for p in points if p.name not in self._taken))

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
            if not self._has_warned:
                self.outside()
            return self[name]
        key = self.what if key is None else key
        points = self._points(name)
        if len(points) > 1:
            packages = ", ".join(sorted(map(_place, points)))
            raise ConfigError(f"{key}: {name} is registered by several packages: {packages}")
        for point in points:
            return self._loaded(point, key)
        raise unknown(key, name, self.names())

    def call(self, name: str, returned: type, function: Callable[..., Any], *given: Any) -> Any:
        """Calls a function of the object of a name, of which other packages' may do anything.

        Args:
            name: Of the object.
            returned: Class of the result, maybe a protocol.
            function: What is called.
            given: Its arguments.

        Raises:
            ConfigError: Another package's function failed, or the result is something else.
        """
        expected = f"a result of type {returned.__name__}"
        try:
            found = function(*given)
        except (Exception, SystemExit) as error:
            from sif.utils.device import lacks_memory

            if isinstance(error, SifError) or lacks_memory(error) or not self._points(name):
                raise
            raise self.refused(name, expected, _reason(error)) from error
        if not isinstance(found, returned):
            raise self.refused(name, expected, type(found).__name__)
        return found

    def refused(self, name: str, expected: str, found: str) -> ConfigError:
        """The error for the object of a name, with its place, where it or its result is wrong."""
        where = ": ".join((self.what, name, *map(_place, self._points(name))))
        return ConfigError(f"{where}: expected {expected}, found {found}")

    def _points(self, name: str) -> list[EntryPoint]:
        """Entry points of other packages of a name, those with the same value once."""
        if name in self._taken:
            return []
        return list({p.value: p for p in entry_points(group=self.group, name=name)}.values())

    def _loaded(self, point: EntryPoint, key: str) -> Kind:
        where = f"{key}: {point.name}: {_place(point)}"
        try:
            loaded = point.load()
        except (Exception, SystemExit) as error:  # a foreign package may do anything on import
            raise ConfigError(f"{where} cannot be loaded: {_reason(error)}") from error
        kind = cast(type[Kind], _attribute(self._kind))
        if not isinstance(loaded, kind):
            raise ConfigError(f"{where}: expected a {kind.__name__}, found {type(loaded).__name__}")
        return loaded


def _place(point: EntryPoint) -> str:
    """Such as "their_module:KIND of package theirs"."""
    return point.value + (f" of package {point.dist.name}" if point.dist else "")


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removeprefix("ConfigError: ").splitlines()[0]


def _attribute(place: str) -> object:
    """The object at "module:attribute"."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
