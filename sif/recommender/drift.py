"""How far a model has drifted from a fit: what it took in, and how well it predicted that before.

New interactions are predicted before they are learned (prequential evaluation; Dawid, JRSS A 1984):
of every batch a few users, whose figures the model keeps.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sif.data.interactions import Interactions
from sif.errors import SifError
from sif.evaluation.evaluate import MAIN_METRIC
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel

USERS = 32
"""Users of a batch who are judged; ratings are those of as many rows."""
K = 10
FEWEST = 30
"""Judgments from which an interval is told."""
ROWS, USERS_SHARE, ITEMS_SHARE = 0.2, 0.3, 0.1
"""Shares of folded rows, and of untrained users and items, from which a fit is advised. They are
rules of thumb: `drift(fit=True)` measures."""


def counted(
    server: IndexedRecommender, after: ServedModel, rows: Interactions
) -> ServedModel:  # fmt: skip
    """A model that keeps the record of rows it took in.

    Args:
        server: Of the model before, which predicts them.
        after: The model that took them in.
        rows: Them.
    """
    judged = np.zeros(0, dtype=np.float32)
    with contextlib.suppress(SifError):  # what cannot be predicted says nothing about drift
        judge = _ratings if server.model.objective == "rating" else _rankings
        judged = judge(server, rows)
    users, items = (after.vocabularies[f].lookup(rows.vocabularies[f].ids) for f in (0, 1))
    pairs = np.stack([users[rows.ids[:, 0]], items[rows.ids[:, 1]]], axis=1)
    folding = after.folding.after(len(rows), judged, pairs[(pairs >= 0).all(axis=1)])
    return replace(after, folding=folding).with_users_of(after)


def _known(server: IndexedRecommender, rows: Interactions) -> tuple[NDArray[np.int64], ...]:
    """Users and items of rows that name known ones with a training, and which rows these are."""
    model = server.model
    users, items = (
        model.vocabularies[f].lookup(rows.vocabularies[f].ids)[rows.ids[:, f]] for f in (0, 1)
    )
    kept = (users >= 0) & (items >= 0)
    if model.rule is not None:
        kept[kept] = ~model.rule.cold_users[users[kept]]
        kept[kept] = ~model.rule.never_recommended[items[kept]]
    return users[kept], items[kept], np.flatnonzero(kept)


def _ratings(server: IndexedRecommender, rows: Interactions) -> NDArray[np.float32]:
    """Squared errors of some rows' ratings."""
    assert rows.rating is not None  # noqa: S101
    users, items, places = _known(server, rows)
    some = _drawn(server.model, len(users))
    scores = server.model.scorer.predict(np.stack([users[some], items[some]], axis=1))
    errors = scores - rows.rating[places[some]]
    return np.asarray(errors * errors, dtype=np.float32)


def _rankings(server: IndexedRecommender, rows: Interactions) -> NDArray[np.float32]:
    """NDCG@10 of some users: their new items among those that they did not have."""
    users, items, _ = _known(server, rows)
    users_of, place = np.unique(users, return_inverse=True)
    some = _drawn(server.model, len(users_of))
    chosen = users_of[some]
    new = np.isin(place, some)
    row = np.searchsorted(chosen, users[new])
    shape = len(chosen), len(server.model.vocabularies[1])
    truth = sparse.csr_array((np.ones(len(row), np.float32), (row, items[new])), shape=shape)
    had = server.model.seen[chosen]
    truth = sparse.csr_array(truth - truth.multiply(had.astype(bool)))
    truth.eliminate_zeros()
    best = server.top(chosen, K, had).items
    return ndcg(best, truth)


def ndcg(best: NDArray[np.int64], truth: sparse.csr_array) -> NDArray[np.float32]:
    """NDCG of the users who have something to be found.

    Args:
        best: (b, k) items, -1 for none.
        truth: CSR (b, n_items) whose entries are to be found.
    """
    gains = 1 / np.log2(np.arange(2, best.shape[1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(gains)])
    found = np.zeros(len(best))
    for row, items in enumerate(best):
        relevant = truth.indices[truth.indptr[row] : truth.indptr[row + 1]]
        found[row] = gains[np.isin(items, relevant)].sum()
    counts = np.minimum(np.diff(truth.indptr), best.shape[1])
    return np.asarray(found[counts > 0] / ideal[counts[counts > 0]], dtype=np.float32)


def _drawn(model: ServedModel, count: int) -> NDArray[np.int64]:
    """At most `USERS` of so many, drawn alike for the same history, ascending."""
    if count <= USERS:
        return np.arange(count)
    draws = np.random.default_rng(model.folding.rows)
    return np.sort(draws.choice(count, USERS, replace=False))


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval by the normal approximation; NaN where too few were judged."""

    mean: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Interval:
        """Of judgments (n,)."""
        n = len(values)
        if n < FEWEST:
            return cls(float(values.mean()) if n else math.nan, math.nan, math.nan, n)
        values = values.astype(np.float64)
        mean, half = float(values.mean()), 1.96 * float(values.std(ddof=1)) / math.sqrt(n)
        return cls(mean, mean - half, mean + half, n)

    def rooted(self) -> Interval:
        """Of squared errors the root."""
        mean, low, high = (math.sqrt(max(v, 0.0)) for v in (self.mean, self.low, self.high))
        return Interval(mean, low, high, self.count)

    def __str__(self) -> str:
        if not self.count:
            return "none was judged"
        if math.isnan(self.low):
            return f"{self.mean:.4f} of {self.count}, too few for an interval"
        return f"{self.mean:.4f} ({self.low:.4f} to {self.high:.4f}) of {self.count}"


@dataclass(frozen=True)
class Drift:
    """How far a model is from a fit; prints as a sentence and a table.

    Attributes:
        rows: Interactions folded in since the fit.
        rows_share: Their share of all that users have.
        users_share: Share of users that no training saw.
        items_share: The same of items.
        metric: Of the figures.
        at_fit: Its value on the validation part of the fit; None: the model has no report. It is
            of other users and more items each: compare the next two with one another.
        first: Of the first new interactions, predicted before they were learned.
        latest: Of the latest ones.
        change: Latest less first.
        folded: Of held-out recent pairs, one of each user: the model, folded without them.
        fresh: A fresh fit without them, on the same.
        gain: Fresh less folded, paired.
        fit_again: Whether to fit again.
        reason: Why.
    """

    rows: int
    rows_share: float
    users_share: float
    items_share: float
    metric: str
    at_fit: float | None
    first: Interval
    latest: Interval
    change: Interval
    fit_again: bool
    reason: str
    folded: Interval | None = None
    fresh: Interval | None = None
    gain: Interval | None = None

    def to_frame(self) -> pd.DataFrame:
        """Returns the table: what was measured, and its value."""
        at_fit = "unknown" if self.at_fit is None else f"{self.at_fit:.4f}"
        rows = [
            ("rows folded in", f"{self.rows:,} ({100 * self.rows_share:.1f} %)"),
            ("users untrained", f"{100 * self.users_share:.1f} %"),
            ("items untrained", f"{100 * self.items_share:.1f} %"),
            (f"{self.metric} at the fit", at_fit),
            (f"{self.metric} of the first new rows", str(self.first)),
            (f"{self.metric} of the latest", str(self.latest)),
        ]  # fmt: skip
        if self.gain is not None:
            rows += [
                (f"{self.metric} held out, this model", str(self.folded)),
                (f"{self.metric} held out, fresh fit", str(self.fresh)),
                ("fresh less this", str(self.gain)),
            ]
        return pd.DataFrame(rows, columns=["measured", "value"])

    def __str__(self) -> str:
        told = f"Fit again: {'yes' if self.fit_again else 'no'}; {self.reason}."
        frame = self.to_frame()
        width = frame["measured"].str.len().max()
        lines = (f"{a:<{width}}  {b}" for a, b in frame.itertuples(index=False))
        return "\n".join([told, *lines])


def drift_of(
    model: ServedModel, pair: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None
) -> Drift:
    """The drift of a model.

    Args:
        model: With its record.
        pair: Judgments of the model and of a fresh fit on the same users; None: there is none.
    """
    folding, metric = model.folding, MAIN_METRIC[model.objective]
    users, items = (
        len(gone) / max(len(ids), 1)
        for gone, ids in zip(model.untrained, model.vocabularies, strict=False)
    )
    first, latest = Interval.of(folding.first), Interval.of(folding.latest)
    change = _difference(first, latest)
    share = folding.rows / max(model.seen.nnz, 1)
    gain = None if pair is None else Interval.of(pair[1] - pair[0])
    worse = change.high < 0 if model.objective == "ranking" else change.low > 0
    fit_again, reason = _advice(share, users, items, worse, gain)
    rooted = model.objective == "rating"
    return Drift(
        folding.rows, share, users, items, metric, _at_fit(model, metric),
        first.rooted() if rooted else first, latest.rooted() if rooted else latest, change,
        fit_again, reason, None if pair is None else Interval.of(pair[0]),
        None if pair is None else Interval.of(pair[1]), gain,
    )  # fmt: skip


def _difference(first: Interval, latest: Interval) -> Interval:
    """Of two independent means the later less the earlier."""
    half = math.hypot(first.high - first.mean, latest.high - latest.mean)
    mean = latest.mean - first.mean
    return Interval(mean, mean - half, mean + half, latest.count)


def _at_fit(model: ServedModel, metric: str) -> float | None:
    if model.report is None:
        return None
    rows = (row for row in model.report.rows if row.model == model.report.served)
    return next((float(row.metrics[metric]) for row in rows if metric in row.metrics), None)


def _advice(
    rows: float, users: float, items: float, worse: bool, gain: Interval | None
) -> tuple[bool, str]:
    """Advice to fit again or not, and the reason."""
    if gain is not None:
        if gain.low > 0:
            return True, f"a fresh fit predicts held-out rows better by {gain}"
        return False, f"a fresh fit predicts held-out rows no better: by {gain}"
    if worse:
        return True, "the latest rows were predicted worse than the first after the fit"
    limits = (
        (rows, ROWS, "of the rows were folded in"), (users, USERS_SHARE, "of the users"),
        (items, ITEMS_SHARE, "of the items"),
    )  # fmt: skip
    for share, limit, what in limits:
        if share > limit:
            told = f"{100 * share:.0f} % {what}"
            told += "" if what.endswith("in") else " were in no training"
            return True, f"{told}, more than {100 * limit:.0f} %"
    return False, "little was folded in, and new rows are predicted as well as at first"
