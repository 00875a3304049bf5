"""Small data and the sample data folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sif.data.interactions import Interactions, Vocabulary


@pytest.fixture
def ml_100k() -> Path:
    """The official MovieLens 100K folder."""
    folder = Path(os.environ.get("SIF_DATA_DIR", "")) / "ml-100k"
    if not (folder / "u.data").is_file():
        pytest.skip("needs ml-100k/u.data in SIF_DATA_DIR")
    return folder


@pytest.fixture
def generated() -> Interactions:
    """500 distinct pairs of 40 users (the last has 2) and 60 items, with many ties in time."""
    rng = np.random.default_rng(7)
    keys = rng.permutation(39 * 60)[:498]
    ids = np.stack([np.append(keys // 60, [39, 39]), np.append(keys % 60, [0, 1])], axis=1)
    return Interactions(
        ids=ids.astype(np.int64),
        fields=("user", "item"),
        vocabularies=(
            Vocabulary([f"u{n}" for n in range(40)]),
            Vocabulary([f"i{n}" for n in range(60)]),
        ),
        rating=rng.integers(1, 6, 500).astype(np.float32),
        timestamp=rng.integers(0, 100, 500).astype(np.int64),
    )
