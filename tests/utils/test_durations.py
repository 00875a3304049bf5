"""Lengths of time in every wording that is taken, and some that are not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from sif.errors import ConfigError
from sif.utils.durations import seconds_of


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("90s", 90), ("2min", 120), ("1 minute", 60), ("2 minutes", 120), ("1h30min", 5400),
        ("1 hour 20 sec", 3620), ("2seconds", 2), ("1h", 3600), ("1h 30min", 5400), ("1.5min", 90),
        (120, 120),        (0.5, 0.5), (np.int64(3), 3), (timedelta(minutes=2), 120), (None, None),
    ],
)  # fmt: skip
def test_a_length_of_time_is_seconds(given: Any, seconds: float | None) -> None:
    assert seconds_of(given) == seconds


@pytest.mark.parametrize(
    "given", ["soon", "", "2", "2m", "-2s", 0, -1, np.nan, np.inf, True, [], timedelta(0), "1e3s"]
)
def test_anything_else_is_refused_by_the_argument(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"^budget: expected seconds above 0, a text such as"):
        seconds_of(given)
