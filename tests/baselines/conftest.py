"""Small interactions for the baselines' tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sif.data.interactions.interactions import Interactions
from sif.data.interactions.vocabulary import Vocabulary

Make = Callable[..., Interactions]


@pytest.fixture
def make() -> Make:
    """Interactions from pairs (n, 2) in their order, sizes and ratings (n,)."""

    def build(
        ids: np.ndarray, sizes: tuple[int, int], rating: np.ndarray | None = None
    ) -> Interactions:
        vocabularies = tuple(
            Vocabulary([f"{letter}{i:04}" for i in range(n)])
            for letter, n in zip("ui", sizes, strict=True)
        )
        if rating is not None:
            rating = np.asarray(rating, dtype=np.float32)
        rows = np.asarray(ids, np.int64)
        return Interactions(rows, ("user", "item"), vocabularies, rating, np.arange(len(rows)))

    return build


@pytest.fixture
def blocks(make: Make) -> tuple[Interactions, Interactions]:
    """Train and valid of two groups of users that keep to their own half of 40 items."""
    rng = np.random.default_rng(0)
    user, item = np.meshgrid(np.arange(60), np.arange(40), indexing="ij")
    same = ((user < 30) == (item < 20)) & (rng.random(user.shape) < 0.6)
    ids = np.stack([user[same], item[same]], axis=1)
    rating = np.clip(3 + (ids[:, 0] % 3 - 1) + (ids[:, 1] % 2) + rng.normal(0, 0.3, len(ids)), 1, 5)
    held = rng.random(len(ids)) < 0.2
    return make(ids[~held], (60, 40), rating[~held]), make(ids[held], (60, 40), rating[held])
