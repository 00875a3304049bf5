"""Stand-ins that several test modules take."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


class OneState:
    """Keeps the state of the given offer; restores a given state."""

    def __init__(self, keep: int, state: dict[str, Any] | None = None) -> None:
        self.keep, self.given, self.kept, self.offers = keep, state, None, 0

    def restore(self) -> dict[str, Any] | None:
        return self.given

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        self.offers += 1
        if self.offers == self.keep:
            self.kept = copy.deepcopy(state())


@dataclass(frozen=True, eq=False)
class Table:
    """Scores and ratings looked up in one table."""

    values: np.ndarray

    def scores(self, users: np.ndarray) -> np.ndarray:
        return self.values[users]

    def predict(self, ids: np.ndarray) -> np.ndarray:
        return self.values[ids[:, 0], ids[:, 1]]
