"""New items beside known ones in lists of the whole catalog.

Features rank new items among themselves. A level, one factor on all their scores, says how they
stand beside known items; validation chooses it, on lists of all items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sif.data.interactions import Interactions
from sif.evaluation.cold_start import cold_rows
from sif.evaluation.evaluate import RankingScorer, rank_all_items
from sif.evaluation.new_ids import rows_of_new
from sif.tasks.console import table

LEVELS = (0.1, 0.14, 0.2, 0.28, 0.4, 0.56, 0.8, 1.0, 1.25, 1.8, 2.5, 3.5, 5.0)
METRIC, CUTOFF = "ndcg@10", 10


@dataclass(frozen=True)
class BesideKnown:
    """Lists of the whole catalog, where new items are answered for and where they are not.

    Attributes:
        level: That validation chose.
        answered: Metric of all test rows of known users, of those with known items, and of those
            with new ones.
        without: The same where nobody gets a new item.
    """

    level: float
    answered: Mapping[str, float]
    without: Mapping[str, float]

    def text(self) -> str:
        """A table."""
        kinds = list(self.answered)
        rows = [
            [name, *(f"{found[kind]:.4f}" for kind in kinds)]
            for name, found in (
                (f"new items at level {self.level:g}", self.answered),
                ("no new items", self.without),
            )
        ]
        heads = [f"{METRIC}, {kind} items" for kind in kinds]
        return table(["lists of the whole catalog", *heads], rows)

    def document(self) -> dict[str, Any]:
        """For metrics.json."""
        return {
            "metric": METRIC, "level": self.level, "answered": dict(self.answered),
            "without": dict(self.without),
        }  # fmt: skip


def rows_of_known_users(train: Interactions, truth: Interactions) -> Interactions:
    """Rows of a part whose user has rows in the train part."""
    return truth.select(~cold_rows(train, 0)[truth.ids[:, 0]])


def merit(scorer: RankingScorer, train: Interactions, truth: Interactions) -> float:
    """The value of `METRIC` of lists of the whole catalog."""
    return rank_all_items(scorer, (train,), truth, (CUTOFF,)).metrics[METRIC]


def tested_beside_known(
    level: float, answering: RankingScorer, plain: RankingScorer, train: Interactions,
    truth: Interactions,
) -> BesideKnown:  # fmt: skip
    """Judges lists of the whole catalog on a test part.

    Args:
        level: Of the new items.
        answering: Scores of all items.
        plain: The same model, which recommends no new item.
        train: Known rows.
        truth: The test part.
    """
    asked = rows_of_known_users(train, truth)
    is_new = cold_rows(train, 1)[asked.ids[:, 1]]
    kinds = {
        "all": asked, "known": asked.select(~is_new), "new": rows_of_new(train, truth, 1),
    }  # fmt: skip
    found = [
        {name: merit(scorer, train, rows) for name, rows in kinds.items() if len(rows)}
        for scorer in (answering, plain)
    ]
    return BesideKnown(level, *found)
