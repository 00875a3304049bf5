"""The report of a fit: the searched function against baselines, on validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import pandas as pd

from sif.evaluation.comparison import Comparison, compare, counted
from sif.evaluation.evaluate import MAIN_METRIC, Evaluation, Objective
from sif.evaluation.metrics import merit
from sif.problems.base import SEARCHED
from sif.problems.closed_forms import CLOSED
from sif.problems.controls import FIXED
from sif.problems.order import ORDER

COLUMNS: dict[Objective, tuple[str, ...]] = {
    "ranking": ("ndcg@10", "recall@10", "mrr@10", "hit@10"),
    "rating": ("rmse", "mae"),
}
OURS = (SEARCHED, FIXED, CLOSED, ORDER)
"""Models among which validation chooses what is served; the others are compared with it."""
CAVEAT = (
    "All figures are of the validation part, which also chose strengths, stopping and baselines' "
    "parameters: they flatter what was chosen. sif.run_job measures on a test part of its own."
)


@dataclass(frozen=True)
class Row:
    """One model of a report.

    Attributes:
        model: Its name.
        parameters: Its function, or what validation chose of a baseline's grid.
        metrics: On the validation part.
        seconds: Of its training, with all that validation chose from; the search's are not among
            them.
        tried: Part of its grid and epochs that there was time for, such as "1 of 5 settings";
            empty: all.
    """

    model: str
    parameters: str
    metrics: Mapping[str, float]
    seconds: float
    tried: str = ""

    @property
    def label(self) -> str:
        """Its name, with the part of its grid where time allowed no more."""
        return f"{self.model} ({self.tried})" if self.tried else self.model


def part_of(done: int, whole: int, unit: str) -> str:
    """Tells a part, such as "1 of 5 settings"; empty where it is the whole."""
    return "" if done == whole else f"{done} of {whole} {unit}"


@dataclass(frozen=True)
class Report:
    """The models of a fit and a verdict; prints as a table with both.

    Attributes:
        objective: "ranking" or "rating".
        rows: All models, the best on validation first.
        served: Name of the row that the recommender serves.
        against: Name of the baseline that validation ranks best; fixed multiply where no other was
            trained and another function is served; None: nothing to compare with.
        comparison: The served one less that, with a paired 95 % interval over users.
        users: Number of users behind the interval.
        is_fixed: Whether the served function is fixed multiply, by whatever name.
        search: What the search came to, on one line.
        left_out: Baselines that are missing, each with the reason.
        seconds: Wall-clock of each stage of the fit.
        last_fit: What was fitted after these figures were measured, on one line; empty: nothing.
        new_users: What users without interactions get, on one line; empty: the most popular items.
        retrieval: How the best items are found, on one line; empty: exactly.
        features: Whether features of items and users helped: "text" in words, "kinds" with the
            trial of each kind of design, and "served"; empty: the data have none.
    """

    objective: Objective
    rows: tuple[Row, ...]
    served: str
    against: str | None
    comparison: Comparison | None
    users: int
    is_fixed: bool
    search: str
    left_out: tuple[str, ...]
    seconds: Mapping[str, float]
    last_fit: str = ""
    new_users: str = ""
    retrieval: str = ""
    features: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, objective: Objective, rows: Mapping[str, Row], evaluations: Mapping[str, Evaluation],
        served: str, *, is_fixed: bool, search: str, left_out: tuple[str, ...],
        seconds: Mapping[str, float], seed: int, last_fit: str = "", new_users: str = "",
        retrieval: str = "", features: Mapping[str, Any] | None = None,
    ) -> Report:  # fmt: skip
        """Compares the served model with the best of the others, by their evaluations.

        Nothing is compared with itself: fixed multiply is no baseline of fixed multiply.
        """
        metric = MAIN_METRIC[objective]
        order = sorted(rows.values(), key=lambda row: -merit(metric, row.metrics[metric]))
        others = [row.model for row in order if row.model not in OURS]
        against = next(iter(others), FIXED if FIXED in evaluations and not is_fixed else None)
        comparison = against and compare(
            evaluations[served], evaluations[against], metric, seed=seed
        )
        return cls(
            objective, tuple(order), served, against, comparison or None,
            len(evaluations[served].users), is_fixed, search, left_out, dict(seconds), last_fit,
            new_users, retrieval, features or {},
        )  # fmt: skip

    @property
    def found(self) -> str:
        """The function that the search found, on one line; empty without a search."""
        return next((row.parameters for row in self.rows if row.model == SEARCHED), "")

    @property
    def verdict(self) -> str:
        """One sentence: is the served model better than the best baseline?"""
        metric, served = MAIN_METRIC[self.objective], self._row(self.served)
        if self.against is None or self.comparison is None:
            found = f"{served.parameters} is fixed multiply, and " if self.is_fixed else ""
            return f"no verdict: {found}nothing else was trained to compare with"
        other, comparison = self._row(self.against), self.comparison
        told = comparison.told(
            metric, served.metrics[metric], other.metrics[metric], counted(self.users, "users")
        )
        return f"{served.parameters} is {comparison.relation} {other.label} on validation: {told}"

    def to_frame(self) -> pd.DataFrame:
        """All models as a table.

        Returns:
            A row for each, the best on validation first: "model", "parameters" (the function, or
            what validation chose), "served", its metrics on validation, "seconds" of training, and
            "tried", the part of its grid that there was time for, or "all".
        """
        metrics = COLUMNS[self.objective]
        rows = [
            {"model": row.model, "parameters": row.parameters, "served": row.model == self.served}
            | {name: row.metrics[name] for name in metrics}
            | {"seconds": row.seconds, "tried": row.tried or "all"}
            for row in self.rows
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def _row(self, name: str) -> Row:
        return next(row for row in self.rows if row.model == name)

    def _lines(self) -> tuple[str, ...]:
        kept = "which is served" if self.served == SEARCHED else "and validation prefers another"
        if self.is_fixed and self.found == self._row(self.served).parameters:
            kept = "which is fixed multiply"
        if not self.found:
            kept = "fixed multiply is served"
        if self.served in (CLOSED, ORDER):
            kept = f"and validation prefers {self._row(self.served).parameters}"
        told = f"features: {self.features['text']}" if self.features else ""
        further = filter(None, [told, self.last_fit, self.new_users, self.retrieval])
        verdict = f"verdict: {self.verdict}"
        return f"{self.search}, {kept}", *self.left_out, verdict, CAVEAT, *further

    def _printed(self) -> pd.DataFrame:
        """The table whose names say what there was no time for."""
        labels = [row.label for row in self.rows]
        return self.to_frame().drop(columns="tried").assign(model=labels)

    def __repr__(self) -> str:
        """The table, the searched function and the verdict."""
        table = self._printed().to_string(index=False, float_format="{:.4f}".format)
        return "\n".join([table, *self._lines()])

    def _repr_html_(self) -> str:
        table = self._printed().to_html(index=False, float_format="{:.4f}".format)
        return "\n".join([table, *(f"<p>{escape(line)}</p>" for line in self._lines())])
