"""Durations as people write them."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any

from sif.errors import ConfigError
from sif.utils.argument_types import shown

_UNITS = {"s sec second seconds": 1.0, "min minute minutes": 60.0, "h hour hours": 3600.0}
SECONDS = {word: seconds for words, seconds in _UNITS.items() for word in words.split()}
"""Seconds of each unit, by all its words."""
_ONE = rf"(\d+(?:\.\d+)?)\s*({'|'.join(sorted(SECONDS, key=len, reverse=True))})"


def seconds_of(duration: Any) -> float | None:
    """A duration in seconds above 0: a number, "90s", "1h 30min" or a timedelta; None stays.

    Units may be words, as in "2 minutes".

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
            f"timedelta, found {shown(duration)}"
        )
    return seconds
