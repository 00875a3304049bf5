"""A small model that several commands answer with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sif.data.interactions import Interactions, Vocabulary
from sif.recommender.recommender import Recommender

QUICK = {
    "train.epochs": 30, "train.dimension": 4, "train.l2": [0.003], "search.epochs": 3,
    "search.dimension": 4, "train.lr": 0.05,
}  # fmt: skip


@pytest.fixture(scope="session")
def served_half(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a model of users and items that are both even or both odd; gives its folder."""

    def save(title: str, epochs: int) -> Path:
        draws = np.random.default_rng(0)
        pairs = [(u, i) for u in range(30) for i in range(12) if (u + i) % 2 == 0]
        ids = np.array([p for p in pairs if draws.random() < 0.8], dtype=np.int64)
        names = (Vocabulary(f"u{u}" for u in range(30)), Vocabulary(f"i{i}" for i in range(12)))
        data = Interactions(ids, ("user", "item"), names, titles={"i0": title})
        settings = {**QUICK, "train.epochs": epochs}
        folder = tmp_path_factory.mktemp("served") / "model"
        Recommender(threads=1, settings=settings).fit(data).save(folder)
        return folder

    return save
