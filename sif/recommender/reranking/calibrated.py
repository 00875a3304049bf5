"""Calibration: categories in a list in the shares that a user's history has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sif.evaluation.beyond.calibration import ALPHA, distributions
from sif.recommender.reranking.candidates import Candidates, Places, rows_at_once
from sif.recommender.reranking.features import Last, categories_of
from sif.recommender.reranking.step import Request, Step, number_from

Floats = NDArray[np.float64]
_TINY = 1e-300
"""In place of 0 in logarithms that are multiplied by 0."""


@dataclass(frozen=True)
class Calibrated(Step):
    """Brings the categories of a list near those of the user's history.

    Each place gets the candidate with the largest (1 - strength) * relevance - strength * KL(p ||
    q~). There q~ is of the list with the candidate, see `sif.evaluation.beyond.calibration`.
    Relevance is the score, from 0 to 1 among a user's candidates. Of equal ones the first in the
    former order is taken. Source: Steck, *Calibrated recommendations*, RecSys 2018, whose lambda is
    the strength, and whose scores are not scaled.

    Args:
        categories: Labels by item id, a data frame of weights with item ids as its index, or the
            name of a column of the model's item features.
        strength: From 0 (the order stays) to 1 (calibration alone).
        alpha: Share of the history's distribution in that of the list.

    Raises:
        ConfigError: A number out of range.

    Examples:
        >>> from sif.recommender.reranking import Calibrated
        >>> kinds = {item: item[:3] for item in orders["item"]}
        >>> calibrated = model.recommend("c1", n=2, rerank=[Calibrated(kinds, strength=0.9)])
        >>> calibrated["item"].str[:3].tolist()  # c1 has tea alone
        ['tea', 'tea']
    """

    categories: Any
    strength: float = 0.5
    alpha: float = ALPHA
    _last: Last[sparse.csr_array] = field(
        default_factory=Last, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        number_from("Calibrated: strength", self.strength, 0, 1)
        number_from("Calibrated: alpha", self.alpha, 1e-9, 1 - 1e-9)

    def applied(self, candidates: Candidates, request: Request) -> Candidates:
        """The best k by Steck's greedy choice, then the others."""
        server = request.server
        shares = self._last.of(server, lambda: categories_of(self.categories, server))
        wanted = distributions(request.histories, shares)
        relevance, there = candidates.relevance, candidates.there
        chosen = np.full((len(there), request.k), -1)
        step = rows_at_once(there.shape[1] * shares.shape[1])
        for start in range(0, len(there), step):
            here = slice(start, start + step)
            items = np.where(there[here], candidates.items[here], 0)
            mass = shares[items.ravel()].toarray().reshape(*items.shape, shares.shape[1])
            chosen[here] = calibrated_places(
                relevance[here], mass, wanted[here], there[here], request.k, self.strength,
                self.alpha,
            )  # fmt: skip
        return candidates.with_first(chosen)


def calibrated_places(
    relevance: Floats, mass: Floats, wanted: Floats, there: NDArray[np.bool_], k: int,
    strength: float, alpha: float,
) -> Places:  # fmt: skip
    """Steck's greedy choice.

    Args:
        relevance: (b, p).
        mass: (b, p, g) distributions of candidates over categories; zeros of one without any.
        wanted: (b, g) distributions of histories; zeros of one without any.
        there: (b, p) which candidates there are.
        k: Items to choose.
        strength: See `Calibrated`.
        alpha: See `Calibrated`.

    Returns:
        (b, k) columns, -1 where no candidate is left.
    """
    users = np.arange(len(there))
    left, chosen = there.copy(), np.full((len(there), k), -1)
    described = np.asarray(mass.any(axis=2))
    sums, counts = np.zeros(wanted.shape), np.zeros(len(there))
    # KL(p || q~) is a constant of the user less the sum of p log q~.
    constant = (wanted * np.log(np.maximum(wanted, _TINY))).sum(axis=1, keepdims=True)
    for place in range(min(k, there.shape[1])):
        total = counts[:, None] + described
        smooth = (sums[:, None, :] + mass) * ((1 - alpha) / np.maximum(total, 1))[:, :, None]
        smooth += alpha * wanted[:, None, :]
        logs = np.log(np.maximum(smooth, _TINY, out=smooth), out=smooth)
        away = constant - np.einsum("bpg,bg->bp", logs, wanted)
        values = (1 - strength) * relevance - strength * away
        best = np.where(left, values, -np.inf).argmax(axis=1)
        taken = left[users, best]
        chosen[:, place] = np.where(taken, best, -1)
        left[users, best] = False
        sums += mass[users, best] * taken[:, None]
        counts += described[users, best] & taken
    return chosen
