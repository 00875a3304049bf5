"""Libraries that only some jobs need."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sif.errors import ConfigError, SifError


@contextmanager
def needed(message: str, error: type[SifError] = ConfigError) -> Iterator[None]:
    """Around the import of a library: the error that says what to install where it is missing."""
    try:
        yield
    except ImportError:
        raise error(message) from None


def library(name: str, method: str) -> Any:
    """The imported module; ConfigError that says what to install where it is missing."""
    package = name.partition(".")[0]
    with needed(f"method {method}: expected {package}, found none; pip install 'sif[bench]'"):
        return importlib.import_module(name)
