"""Libraries that only some methods need."""

from __future__ import annotations

import importlib
from typing import Any

from sif.errors import ConfigError


def library(name: str, method: str) -> Any:
    """The imported module; ConfigError that says what to install where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise ConfigError(
            f"method {method}: expected {package}, found none; pip install 'sif[bench]'"
        ) from None
