"""Rows that several modules read by pieces, and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sif.data.streamed.load import Place

N = 400


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "scratch", False)


@pytest.fixture
def frame() -> pd.DataFrame:
    """Unsorted rows of 23 users and 17 items with repeated pairs, times among them."""
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "user": [f"u{n}" for n in rng.integers(0, 23, N)],
            "item": rng.permutation(1000)[rng.integers(0, 17, N)],
            "rating": rng.integers(1, 11, N) / 2,
            "timestamp": rng.integers(1_500_000_000, 1_500_000_100, N),
        }
    )
