"""Methods of other packages, by the entry points that they register; importing this loads none."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from sif.errors import ConfigError

GROUP = "sif.methods"
"""Of entry points."""


def outside_names() -> tuple[str, ...]:
    """Of registered methods, which are not loaded."""
    return tuple(point.name for point in entry_points(group=GROUP))


def loaded(name: str, kind: type, key: str) -> Any:
    """What is registered under a name; None: nothing.

    Args:
        name: Of the entry point.
        kind: What has to be registered there.
        key: Where the name was given, for messages.

    Raises:
        ConfigError: It cannot be loaded, or is something else.
    """
    points = tuple(entry_points(group=GROUP, name=name))
    if not points:
        return None
    where = f"{key}: {name}: {points[0].value}"
    try:
        found = points[0].load()
    except Exception as error:  # whatever a foreign package does when it is imported
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError(f"{where} cannot be loaded: {told}") from error
    if not isinstance(found, kind):
        raise ConfigError(f"{where}: expected a {kind.__name__}, found {type(found).__name__}")
    return found
