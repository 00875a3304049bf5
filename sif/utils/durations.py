"""Durations as people write them."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any

from sif.errors import ConfigError

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
"""Seconds of each unit."""
_ONE = r"(\d+(?:\.\d+)?)\s*(s|min|h)"


def seconds_of(duration: Any) -> float | None:
    """A duration in seconds above 0: a number, "90s", "1h 30min" or a timedelta; None stays.

    Raises:
        ConfigError: Anything else.
    """
    if duration is None:
        return None
    seconds = math.nan
    if isinstance(duration, timedelta):
        seconds = duration.total_seconds()
    elif isinstance(duration, str) and re.fullmatch(rf"\s*({_ONE}\s*)+", duration):
        seconds = sum(float(n) * SECONDS[unit] for n, unit in re.findall(_ONE, duration))
    elif not isinstance(duration, bool | str):
        try:
            seconds = float(duration)
        except (TypeError, ValueError, OverflowError):
            seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(
            "budget: expected seconds above 0, a text such as '90s', '2min' or '1h', or a "
            f"timedelta, found {duration!r}"
        )
    return seconds
