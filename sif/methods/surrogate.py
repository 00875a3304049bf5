"""A surrogate of errors or costs: ridge regression on which operations a selection has.

Its features are each edge's operation, and how often each operation occurs in each block. By the
latter it also ranks choices of edges that it has not seen vary, as a predictor whose embeddings of
operations are shared by all positions does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sif.core.gates import Block, Selection

DIGITS = 9
"""Digits of predictions, so that rounding in the last ones decides nothing between equals."""


class Surrogate:
    """Ridge regression on a selection's operations, with an intercept that is not penalized.

    Args:
        blocks: Of the space.
        selections: That were trained, one at least.
        values: Number of each, such as its error.
        l2: Strength of the penalty, in selections: an operation that so many have had shows half of
            its effect.

    Examples:
        >>> block = Block("a", ("x", "y"))
        >>> seen = [Selection({"a": [0]}), Selection({"a": [1]})]
        >>> rank = Surrogate([block], seen, [0.5, 0.25], l2=1.0).predict(seen)
        >>> bool(rank[0] > rank[1])
        True
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        selections: Sequence[Selection],
        values: Sequence[float],
        l2: float,
    ) -> None:
        self._blocks, self._starts, start = tuple(blocks), [], 0
        for block in blocks:
            self._starts.append(start)
            start += (len(block.nodes) + 1) * len(block.operations)
        table = np.zeros((len(selections), start))
        for row, selection in zip(table, selections, strict=True):
            np.add.at(row, self._features(selection), 1.0)
        target = np.array(values, dtype=np.float64)
        target = (target - target.mean()) / (target.std() or 1.0)
        table -= table.mean(axis=0)
        penalty = l2 * np.eye(start)
        self._weights: NDArray[np.float64] = np.linalg.solve(
            table.T @ table + penalty, table.T @ target
        )

    def predict(self, selections: Sequence[Selection]) -> NDArray[np.float64]:
        """(n_selections) values up to a rising linear function, which ranks do not depend on."""
        sums = [float(self._weights[self._features(one)].sum()) for one in selections]
        return np.array([round(value, DIGITS) for value in sums], dtype=np.float64)

    def _features(self, selection: Selection) -> list[int]:
        found = []
        for block, start in zip(self._blocks, self._starts, strict=True):
            n_ops = len(block.operations)
            for edge, operation in enumerate(selection[block.name]):
                if operation >= 0:
                    found += [start + operation, start + (edge + 1) * n_ops + operation]
        return found
