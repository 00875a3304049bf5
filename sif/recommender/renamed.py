"""Attributes of the recommender by their deprecated names."""

from __future__ import annotations

import warnings
from typing import Any

FORMER = {"valid_": "validation_metrics_", "found_": "searched_function_"}
"""Deprecated names, and those of today."""


def former(name: str) -> property:
    """An attribute by its deprecated name, a key of `FORMER`."""

    def read(model: Any) -> Any:
        model.fitted_model()
        warnings.warn(f"{name} is called {FORMER[name]} now", DeprecationWarning, stacklevel=2)
        return getattr(model, FORMER[name])

    return property(read, doc=f"Deprecated: `{FORMER[name]}`.")
