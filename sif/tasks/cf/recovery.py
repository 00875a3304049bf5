"""Recovery of a planted truth: what a job found on generated data, beside what made them.

Of histories: the model reads as many time scales as were planted, each half-life is within a factor
of `FACTOR` of the planted one, and so the scales meet as planted (two of them add up; a single one
or a set has nothing to meet). Of a product: the model's operation is the planted one. In both cases
its scores have to rank the items as the truth does: the rank correlation (Spearman) of its scores
with the true chances over the items that a user does not have, averaged over users, is `LEAST` at
least. Nothing here is seen by a search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from sif.core.genotype import Genotype
from sif.data.interactions import Interactions
from sif.data.interactions.load import Truth
from sif.data.interactions.planted_films import HistoryTruth, half_life_of
from sif.evaluation.evaluate import RankingScorer
from sif.evaluation.histories import sequences_of
from sif.spaces.linear.design import GIVEN, linear_design
from sif.spaces.linear.design import NAME as ORDER

FACTOR = 2.0
"""Ratio of a found and a planted half-life that still counts as the same."""
LEAST = 0.3
"""Mean rank correlation of scores with true chances from which a model ranks as the truth does."""
USERS = 300
"""Users at most over whom it is averaged."""

Chances = Callable[[int], npt.NDArray[np.floating[Any]]]
"""Number of a user to the true chances (n_items,) of all items."""


@dataclass(frozen=True)
class Recovery:
    """A planted truth and what became of it.

    Attributes:
        recovered: Whether it was found.
        truth: In words.
        judged: How that is judged, with what was seen, in words.
        found: What the model reads: half-lives in rows, or the name of an operation.
        planted: The same of the truth.
        correlation: Mean rank correlation of the scores with the true chances.
    """

    recovered: bool
    truth: str
    judged: str
    found: tuple[float, ...] | str
    planted: tuple[float, ...] | str
    correlation: float

    def document(self) -> dict[str, Any]:
        """For metrics.json, which has no endless numbers."""
        found = self.found if isinstance(self.found, str) else [*map(_finite, self.found)]
        return {**asdict(self), "found": found}


def recovery(
    truth: Truth, design: Any, scorer: RankingScorer, known: Interactions, users: npt.NDArray[Any]
) -> Recovery:  # fmt: skip
    """Compares a model with the truth of its data.

    Args:
        truth: Of the data, in their numbers.
        design: Of the model.
        scorer: The model.
        known: Rows that it was fitted on, which users have.
        users: (b,) numbers of users whose scores are compared.
    """
    if isinstance(truth, HistoryTruth):
        sequences = sequences_of(known)

        def chances(user: int) -> npt.NDArray[np.floating[Any]]:
            begin, end = sequences.starts[user : user + 2]
            return truth.chances(sequences.items[begin:end])

        return _of_histories(truth, design, correlation(chances, scorer, known, users))

    def signal(user: int) -> npt.NDArray[np.floating[Any]]:
        items = np.arange(known.sizes[1])
        return truth["signal"](np.stack([np.full_like(items, user), items], axis=1))

    return _of_product(truth, design, correlation(signal, scorer, known, users))


def correlation(
    chances: Chances, scorer: RankingScorer, known: Interactions, users: npt.NDArray[Any]
) -> float:
    """Mean rank correlation of scores and true chances, over the items that a user does not have.

    Args:
        chances: Of the truth.
        scorer: The model.
        known: Rows that users have.
        users: (b,) of whom `USERS` at most are compared.
    """
    few = np.asarray(users[:: max(1, -(-len(users) // USERS))], dtype=np.int64)
    found = []
    for user, scores in zip(few.tolist(), scorer.scores(few), strict=True):
        is_open = np.isfinite(scores)
        is_open[known.ids[known.ids[:, 0] == user, 1]] = False
        value = float(spearmanr(scores[is_open], chances(user)[is_open]).statistic)
        found.append(0.0 if math.isnan(value) else value)  # equal scores rank nothing
    return float(np.mean(found)) if found else 0.0


def _of_histories(truth: HistoryTruth, design: Any, correlated: float) -> Recovery:
    found, planted = half_lives_found(design), truth.half_lives
    same = len(found) == len(planted) and all(
        1 / FACTOR <= one / other <= FACTOR for one, other in zip(found, planted, strict=False)
    )
    if planted:
        judged = (
            f"as many time scales, each half-life within a factor of {FACTOR:g} (planted "
            f"{_listed(planted)} rows, found {_listed(found) or 'none'})"
        )
    else:
        judged = f"no time scale ({_listed(found) or 'none'} found)"
    judged += _ranks(correlated)
    return Recovery(same and correlated >= LEAST, truth.told, judged, found, planted, correlated)


def _of_product(truth: Mapping[str, Any], design: Any, correlated: float) -> Recovery:
    planted = truth["truth"]
    blocks = design.blocks if isinstance(design, Genotype) else {}
    found = design.operation("operation") if "operation" in blocks else "none"
    arguments = ", ".join(
        field if name == "identity" else f"{name}({field})"
        for name, field in zip(planted.transforms, ("user", "item"), strict=True)
    )
    told = f"a user's and an item's vector meet by {planted.operation}({arguments})"
    judged = f"the operation (planted {planted.operation}, found {found})" + _ranks(correlated)
    same = found == planted.operation and correlated >= LEAST
    return Recovery(same, told, judged, found, planted.operation, correlated)


def half_lives_found(design: Any) -> tuple[float, ...]:
    """Rows after which an item counts half as much, of each time scale that a design reads.

    Args:
        design: Of any space; ascending, endless for a scale that forgets nothing, empty without.
    """
    if not isinstance(design, Genotype) or design.space not in (ORDER, GIVEN):
        return ()
    return tuple(sorted(half_life_of(decay.gamma) for decay in linear_design(design).decays))


def _ranks(correlated: float) -> str:
    return (
        f", and scores that rank the items as the true chances do (rank correlation "
        f"{correlated:.2f}, at least {LEAST:g})"
    )


def _listed(half_lives: tuple[float, ...]) -> str:
    return " and ".join(f"{one:.2g}" for one in half_lives)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
