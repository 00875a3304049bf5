"""What other packages register by entry points; nothing is loaded before its name is asked for."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from sif.errors import ConfigError


def plugin_names(group: str) -> tuple[str, ...]:
    """Of everything that is registered in a group."""
    return tuple(point.name for point in entry_points(group=group))


def plugin(group: str, name: str, key: str) -> Any:
    """What is registered under a name of `plugin_names`.

    Args:
        group: Of entry points.
        name: Of the entry point.
        key: Where the name was given, for messages.

    Raises:
        ConfigError: It cannot be loaded.
    """
    (point, *_) = entry_points(group=group, name=name)
    try:
        return point.load()
    except Exception as error:  # whatever a foreign package does when it is imported
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError(f"{key}: {name}: {point.value} cannot be loaded: {told}") from error
