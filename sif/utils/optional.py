"""Libraries that only some jobs need."""

from __future__ import annotations

import importlib
from typing import Any

from sif.errors import ConfigError, SifError


def library(
    module: str, where: str = "", package: str | None = None, extra: str | None = None,
    error: type[SifError] = ConfigError,
) -> Any:  # fmt: skip
    """The imported module of a library that may be missing.

    Args:
        module: Its full name.
        where: What needs it; begins the message.
        package: Name of the package; None: the module's first name.
        extra: Of sif, which brings the package; None: it is installed by itself.
        error: Type of the error.

    Raises:
        SifError: It is missing; the message says what to install.
    """
    first = module.partition(".")[0]
    try:
        importlib.import_module(first)  # a module may be loaded still that its package has lost
        return importlib.import_module(module)
    except ImportError:
        package = package or first
        told = f"expected the package {package} (pip install {package}), found none"
        if extra is not None:
            told = f"expected {package}, found none; pip install 'sif[{extra}]'"
        raise error(f"{where}: {told}" if where else told) from None
