"""Numbers as a page writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

NONE = "\N{EN DASH}"
"""In place of what is not known."""


def is_number(value: Any) -> TypeGuard[float]:
    """True for a finite number."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and math.isfinite(value)


def plain(value: Any) -> Any:
    """Nested values with None for numbers that are not finite, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


UNITS = {"error": " %"}


def with_unit(metric: str) -> str:
    """The name of a metric with its unit, for headings and axes."""
    unit = UNITS.get(metric.rpartition(" ")[2], "").strip()
    return f"{metric}, {unit}" if unit else metric


def decimals(value: Any, digits: int = 4) -> str:
    """A number with so many decimals, with a true minus sign."""
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}") if is_number(value) else NONE


def signed(value: Any, digits: int = 4) -> str:
    """The same with its sign."""
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}") if is_number(value) else NONE


def count(value: Any) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,.0f}" if is_number(value) else NONE


def percent(value: Any, digits: int = 1) -> str:
    """A share."""
    return f"{100 * value:.{digits}f} %" if is_number(value) else NONE


def seconds(value: Any) -> str:
    """A duration in its usual unit."""
    if not is_number(value):
        return NONE
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if value >= 2 * size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.1f} s" if value >= 0.05 else f"{1000 * value:.0f} ms"


def p_value(value: Any) -> str:
    """A p-value, no smaller than what resamples can tell."""
    if not is_number(value):
        return NONE
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def short(value: Any) -> str:
    """Any setting or parameter on one line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(short, value))}]"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {short(one)}" for key, one in value.items()) or "none"
    return str(value)
