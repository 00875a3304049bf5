"""New items beside known ones in lists of the whole catalog.

Features rank new items among themselves. A level, one factor on all their scores, says how they
stand beside known items. A served model has the one at which new items get as many places as known
ones like them (`sif.recommender.even_level`). Validation chooses another, which is best where so
many rows are of new items as the protocol makes.
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
        levels: Name to the level of new items; None: nobody gets one.
        found: Name to the metric of all test rows of known users, of those with known items, and of
            those with new ones.
    """

    levels: Mapping[str, float | None]
    found: Mapping[str, Mapping[str, float]]

    def text(self) -> str:
        """A table."""
        kinds = list(next(iter(self.found.values())))
        rows = [
            [name, "" if level is None else f"{level:.3g}",
             *(f"{self.found[name][kind]:.4f}" for kind in kinds)]
            for name, level in self.levels.items()
        ]  # fmt: skip
        heads = [f"{METRIC}, {kind} items" for kind in kinds]
        return table(["lists of the whole catalog", "level", *heads], rows)

    def document(self) -> list[dict[str, Any]]:
        """For metrics.json."""
        return [
            {"name": name, "level": level, METRIC: dict(self.found[name])}
            for name, level in self.levels.items()
        ]


def rows_of_known_users(train: Interactions, truth: Interactions) -> Interactions:
    """Rows of a part whose user has rows in the train part."""
    return truth.select(~cold_rows(train, 0)[truth.ids[:, 0]])


def merit(scorer: RankingScorer, train: Interactions, truth: Interactions) -> float:
    """The value of `METRIC` of lists of the whole catalog."""
    return rank_all_items(scorer, (train,), truth, (CUTOFF,)).metrics[METRIC]


def tested_beside_known(
    scorers: Mapping[str, tuple[float | None, RankingScorer]], train: Interactions,
    truth: Interactions,
) -> BesideKnown:  # fmt: skip
    """Judges lists of the whole catalog on a test part.

    Args:
        scorers: Name to the level of new items, None where nobody gets one, and scores of all.
        train: Known rows.
        truth: The test part.
    """
    asked = rows_of_known_users(train, truth)
    is_new = cold_rows(train, 1)[asked.ids[:, 1]]
    kinds = {"all": asked, "known": asked.select(~is_new), "new": rows_of_new(train, truth, 1)}
    found = {
        name: {kind: merit(scorer, train, rows) for kind, rows in kinds.items() if len(rows)}
        for name, (_, scorer) in scorers.items()
    }
    return BesideKnown({name: level for name, (level, _) in scorers.items()}, found)
