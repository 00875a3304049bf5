"""Recovery of a planted truth: what a job found on generated data, beside what made them.

Of histories: the model reads as many time scales as were planted, and each half-life is within a
factor of `FACTOR` of the planted one. Of a product: the operation is the planted one. In both cases
the interaction as a whole has to rank as the truth does: of the `BEST` items that the truth calls
most likely for a user, among those that he does not have, `LEAST` are among the first `BEST` of the
model, averaged over users. A correlation of all ranks would say little, since most items are
unlikely and ordered by popularity alone. No search sees any of this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sif.core.genotype import Genotype
from sif.data.interactions import Interactions, Split
from sif.data.interactions.load import Truth
from sif.data.interactions.parts import TEST
from sif.data.interactions.planted import PlantedInfo
from sif.data.interactions.planted_films import HistoryTruth, half_life_of
from sif.evaluation.evaluate import MAIN_METRIC, RankingScorer, evaluate
from sif.evaluation.histories import sequences_of
from sif.spaces.linear.design import GIVEN, linear_design
from sif.spaces.linear.design import NAME as ORDER

Users = npt.NDArray[np.int64]

FACTOR = 2.0
"""Ratio of a found and a planted half-life that still counts as the same."""
BEST = 20
"""Items that the truth calls most likely for a user, and as many of the model's."""
LEAST = 0.5
"""Share of them that have to be among the model's."""
USERS = 300
"""Users at most over whom it is averaged."""


@dataclass(frozen=True)
class Recovery:
    """A planted truth and what became of it.

    Attributes:
        recovered: Whether it was found.
        truth: In words.
        judged: How that is judged, with what was seen, in words.
        found: What the model reads: half-lives in rows, or the name of an operation.
        planted: The same of the truth.
        agreement: Share of the most likely items that the model ranks among as many first ones.
        best: The deciding metric of the truth itself on the test part, which nothing but luck can
            surpass; None: not known.
    """

    recovered: bool
    truth: str
    judged: str
    found: tuple[float, ...] | str
    planted: tuple[float, ...] | str
    agreement: float
    best: float | None = None

    def document(self) -> dict[str, Any]:
        """For metrics.json, which has no endless numbers."""
        found = self.found if isinstance(self.found, str) else [*map(_finite, self.found)]
        return {**asdict(self), "found": found}


@dataclass(frozen=True, eq=False)
class TrueScores:
    """The truth as a model, which scores items by their chances.

    Attributes:
        truth: Of the data, in their numbers.
        known: Rows that users have.
    """

    truth: Truth
    known: Interactions

    def scores(self, users: Users) -> npt.NDArray[np.float32]:
        """Chances of all items: users (b,) to (b, n_items) float32."""
        if isinstance(self.truth, HistoryTruth):
            sequences = sequences_of(self.known)
            starts = sequences.starts
            found = [
                self.truth.chances(sequences.items[starts[user] : starts[user + 1]])
                for user in users.tolist()
            ]
            return np.asarray(found, dtype=np.float32)
        items = np.arange(self.known.sizes[1])
        pairs = np.stack([np.repeat(users, len(items)), np.tile(items, len(users))], axis=1)
        signal: npt.NDArray[np.float32] = self.truth["signal"](pairs)
        return signal.reshape(len(users), len(items))


def recovery(truth: Truth, design: Any, scorer: RankingScorer, split: Split) -> Recovery:
    """Compares a model with the truth of its data.

    Args:
        truth: Of the data, in their numbers.
        design: Of the model.
        scorer: The model.
        split: Whose train part it was fitted on.
    """
    users = np.unique(split.test.ids[:, 0])
    oracle = TrueScores(truth, split.train)
    shared = agreement(oracle, scorer, split.train, users)
    if not isinstance(truth, HistoryTruth):
        return _of_product(truth, design, shared)
    metric = MAIN_METRIC["ranking"]
    before = split.interactions.select(split.part != TEST)  # what a history at test holds
    best = evaluate(TrueScores(truth, before), split, "test", "ranking").metrics[metric]
    return replace(_of_histories(truth, design, shared), best=best)


def agreement(
    oracle: RankingScorer, scorer: RankingScorer, known: Interactions, users: Users
) -> float:  # fmt: skip
    """Share of the oracle's best items that are among a model's, of those that users do not have.

    Args:
        oracle: Scores by the true chances.
        scorer: The model.
        known: Rows that users have.
        users: (b,), ascending, of whom `USERS` at most are compared.
    """
    few = np.asarray(users[:: max(1, -(-len(users) // USERS))], dtype=np.int64)
    mine = np.isin(known.ids[:, 0], few)
    has = np.zeros((len(few), known.sizes[1]), dtype=np.bool_)
    has[np.searchsorted(few, known.ids[mine, 0]), known.ids[mine, 1]] = True
    best = [
        np.argsort(-np.where(has, -np.inf, one.scores(few)), axis=1, kind="stable")[:, :BEST]
        for one in (oracle, scorer)
    ]
    shared = [len(np.intersect1d(one, other)) for one, other in zip(*best, strict=True)]
    return float(np.mean(shared) / best[0].shape[1])


def _of_histories(truth: HistoryTruth, design: Any, shared: float) -> Recovery:
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
    judged += _ranks(shared)
    return Recovery(same and shared >= LEAST, truth.told, judged, found, planted, shared)


def _of_product(truth: PlantedInfo, design: Any, shared: float) -> Recovery:
    planted = truth["truth"]
    blocks = design.blocks if isinstance(design, Genotype) else {}
    found = design.operation("operation") if "operation" in blocks else "none"
    told = f"a user's and an item's vector meet by {planted.expression()}"
    judged = f"the operation (planted {planted.operation}, found {found})" + _ranks(shared)
    same = found == planted.operation and shared >= LEAST
    return Recovery(same, told, judged, found, planted.operation, shared)


def told_of_product(truth: PlantedInfo, fields: Sequence[str], found: str, moved: bool) -> str:
    """The function behind generated data beside the one that a search found, on one line.

    Args:
        truth: Of the data.
        fields: Names of the fields.
        found: The found function on one line.
        moved: Whether the search moved at all.
    """
    planted = truth["truth"].expression(fields)
    told = "found it" if found == planted else f"found {found}"
    if not moved:
        told = f"did not move from {found}"
    return f"planted: the data were generated by {planted}; the search {told}"


def half_lives_found(design: Any) -> tuple[float, ...]:
    """Rows after which an item counts half as much, of each time scale that a design reads.

    Args:
        design: Of any space; ascending, endless for a scale that forgets nothing, empty without.
    """
    if not isinstance(design, Genotype) or design.space not in (ORDER, GIVEN):
        return ()
    return tuple(sorted(half_life_of(decay.gamma) for decay in linear_design(design).decays))


def _ranks(shared: float) -> str:
    return (
        f"; of the {BEST} items that the truth calls most likely for a user, "
        f"{100 * LEAST:.0f} % among the model's first {BEST} ({100 * shared:.0f} %)"
    )


def _listed(half_lives: tuple[float, ...]) -> str:
    return " and ".join(f"{one:.2g}" for one in half_lives)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
