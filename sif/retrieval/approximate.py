"""The best items of most users by a graph of the items, of the others by the exact engine.

The longest vectors, a 64th of all, are the best of many users: all of them are scored. In a graph
they would draw all links to themselves, and others would have none. The graph of the rest finds
further candidates; their scores are computed in float32 as those of the exact engine, so that an
item has the same score in both, up to rounding, and ties go to the lowest item. More candidates
make up for items that a user may not get. Whoever still has too few, or would need so many that
scoring everything is cheaper, is answered exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from sif.errors import ScoreError, ShapeError
from sif.retrieval.catalogue import Catalogue
from sif.retrieval.engine import ItemEngine, Top, UserVectors
from sif.retrieval.graph import ItemGraph
from sif.retrieval.topk import best_of

TARGET = 0.98
"""Share of the exact best items that a graph has to find."""
LENGTH = 10
"""Items per user of which that share is."""
EXPANSIONS = (
    4, 8, 12, 16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024, 1536,
)  # fmt: skip
"""Items that a search keeps in sight, tried in turn until it finds enough."""
CANDIDATE_COST = 640
"""Items that are scored exactly in the time that an item in sight takes.

Measured as 380 to 500 at 50,000 items of 64 numbers; a graph that is too large for the cache takes
longer, the exact engine does not.
"""
_LEAST_SHARE = 0.5
"""Share of the indexed items that must be allowed: below, a search meets closed ones above all."""
_SPARE = 1.5
"""Candidates per item that is needed: bfloat16 confuses items of nearly the same score."""
_HEAD = 64
"""One item in so many is scored for everybody."""
_DIRECTIONS, _CHUNK = 256, 1 << 16
"""Items of the head by which the others are put in order, so many of them at a time."""
_ROWS = 1024
"""Users whose candidates are scored together."""

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]


class ApproximateEngine:
    """Answers as an engine, for most users by a graph of the items.

    Args:
        engine: Exact, of a function whose scores are products.
        graph: Of the engine's items, by their vectors.
        candidate_cost: Items that are scored exactly in the time of one in sight of the search;
            users for whom the exact engine is cheaper get its answers. None: `CANDIDATE_COST`.

    Attributes:
        engine, graph: See the arguments.

    Raises:
        ShapeError: The graph is of other items, or the function is no product.
    """

    def __init__(
        self, engine: ItemEngine, graph: ItemGraph, candidate_cost: float | None = None
    ) -> None:
        self.engine, self.graph = engine, graph
        cost = CANDIDATE_COST if candidate_cost is None else candidate_cost
        self._affordable = math.ceil(engine.n_items / cost) - 1
        expected = engine.catalogue.product_shape
        if expected != (graph.n_items, graph.dimension):
            raise ShapeError(
                f"graph of items: expected {expected[0]:,} items of {expected[1]} numbers, found "
                f"{graph.n_items:,} of {graph.dimension}"
            )
        self._head = _Head(engine, graph.head) if len(graph.head) else None

    @torch.no_grad()
    def top(
        self, users: UserVectors, k: int, *, excluded: Any = None, allowed: Mask | None = None
    ) -> Top:
        """Good k items of each user, nearly always the best; see `ItemEngine.top`.

        A user gets as many items as from the exact engine, and every item has its score there.

        Raises:
            ConfigError, ShapeError, ScoreError: See `ItemEngine.top`.
        """
        self.engine.check(users, k, excluded, allowed)
        n_best = min(k, self.engine.n_items)
        best = Top(
            np.full((len(users), k), -1, dtype=np.int64),
            np.full((len(users), k), -np.inf, dtype=np.float32),
        )
        counts = self._candidates(len(users), n_best, excluded, allowed)
        found = np.zeros(len(users), np.bool_)
        for count in np.unique(counts[counts > 0]):
            alike = np.flatnonzero(counts == count)
            for start in range(0, len(alike), _ROWS):
                rows = alike[start : start + _ROWS]
                top, enough = self._searched(users, rows, n_best, int(count), excluded, allowed)
                answered = rows[enough]
                best.items[answered, :n_best] = top.items[enough]
                best.scores[answered, :n_best] = top.scores[enough]
                found[answered] = True
        self._answer_exactly(best, users, np.flatnonzero(~found), k, excluded, allowed)
        return best

    def _candidates(self, n: int, k: int, excluded: Any, allowed: Mask | None) -> Numbers:
        """Candidates of each user (b,); 0: the exact engine is asked."""
        graph = self.graph
        wished = _SPARE * k
        if self._head is not None:  # beside whose items a short search was found to be enough
            wished = min(wished, graph.expansion * k / LENGTH)
        hidden = np.zeros(n, np.int64) if excluded is None else self._linked_items(excluded)
        closed = 0 if allowed is None else int((graph.is_indexed & ~allowed).sum())
        unknown = ~graph.is_indexed if allowed is None else allowed & ~graph.is_indexed
        share = 1 - closed / len(graph)
        if unknown.any() or share < _LEAST_SHARE:
            return np.zeros(n, dtype=np.int64)
        more = np.minimum(hidden + closed, (wished + hidden) / share - wished)
        needed = np.maximum(np.ceil(wished + _SPARE * more), EXPANSIONS[0]).astype(np.int64)
        # Powers of two, so that many users are searched for at once.
        count = 1 << np.ceil(np.log2(needed)).astype(np.int64)
        most = min(self._affordable, graph.linked)
        is_cheap = (needed <= most) & self.is_cheaper(graph.expansion)
        return np.where(is_cheap, np.minimum(count, most), 0)

    def _linked_items(self, excluded: Any) -> Numbers:
        """Items (b,) with links that each user may not get; those of the head have none."""
        linked = np.ones(len(excluded.indices), np.bool_)
        if self._head is not None:
            linked = self._head.lacks(excluded.indices)
        ends = np.append(0, np.cumsum(linked))
        counts: Numbers = np.diff(ends[excluded.indptr])
        return counts

    def is_cheaper(self, in_sight: int) -> bool:
        """True if a search that keeps so many items in sight is cheaper than scoring all."""
        return in_sight <= self._affordable

    def _searched(
        self, users: UserVectors, rows: Numbers, k: int, count: int, excluded: Any,
        allowed: Mask | None,
    ) -> tuple[Top, Mask]:  # fmt: skip
        """Items of some users by head and graph, and who of them got k."""
        some = _rows_of(users, rows)
        hidden = None if excluded is None else excluded[rows]
        try:
            items, scores = self._linked(some, count, hidden, allowed)
            if self._head is not None:
                top = self._head.top(some, k, hidden, allowed)
                items = np.concatenate([items, top.items], axis=1)
                scores = np.concatenate([scores, top.scores], axis=1)
        except ScoreError:  # the exact engine tells whose
            nothing = np.zeros((len(rows), k))
            return Top(nothing.astype(np.int64), nothing.astype(np.float32)), nothing[:, 0] > 0
        values, best = best_of(torch.from_numpy(scores), torch.from_numpy(items), k)
        return Top(best.numpy(), values.numpy()), values[:, -1].numpy() > -np.inf

    def _linked(
        self, users: UserVectors, count: int, excluded: Any, allowed: Mask | None
    ) -> tuple[Numbers, NDArray[np.float32]]:
        """Items (b, count) that the graph leads to, and their scores; minus infinity: closed."""
        catalogue = self.engine.catalogue
        assert isinstance(catalogue, Catalogue) and isinstance(users.vectors, torch.Tensor)  # noqa: S101
        ready = catalogue.users(users.vectors, users.biases)
        queries = catalogue.user_vectors(ready).numpy()
        _refuse_lost(~np.isfinite(queries).all(axis=1))
        items = self.graph.search(queries, count, self.engine.threads)
        is_open = items >= 0
        items = np.maximum(items, 0)
        if allowed is not None:
            is_open &= allowed[items]
        if excluded is not None:
            is_open &= ~_stored(excluded, items)
        scores = catalogue.scores_of(ready, torch.from_numpy(items)).numpy()
        _refuse_lost(np.isnan(scores).any(axis=1))
        return items, np.where(is_open, scores, np.float32(-np.inf))

    def _answer_exactly(
        self, best: Top, users: UserVectors, rows: Numbers, k: int, excluded: Any,
        allowed: Mask | None,
    ) -> None:  # fmt: skip
        """Writes the exact answers to some users."""
        if not len(rows):
            return
        hidden = None if excluded is None else excluded[rows]
        try:
            top = self.engine.top(_rows_of(users, rows), k, excluded=hidden, allowed=allowed)
        except ScoreError as error:
            raise ScoreError(int(rows[error.row])) from None
        best.items[rows], best.scores[rows] = top.items, top.scores


class _Head:
    """The best of a few items, exactly."""

    def __init__(self, engine: ItemEngine, items: Numbers) -> None:
        assert isinstance(engine.catalogue, Catalogue)  # noqa: S101
        some = engine.catalogue.among(torch.from_numpy(items))
        self._engine = ItemEngine(some, engine.dimension, threads=engine.threads)
        self._items = items
        self._places = np.full(engine.n_items, -1, dtype=np.int64)
        self._places[items] = np.arange(len(items))

    def lacks(self, items: NDArray[Any]) -> Mask:
        """Tells which of some items (m,) it does not have."""
        return np.asarray(self._places[items] < 0)

    def top(self, users: UserVectors, k: int, excluded: Any, allowed: Mask | None) -> Top:
        """At most k items of each; item 0 with minus infinity where nothing is left."""
        if excluded is not None:
            places = self._places[excluded.indices]
            edges = np.append(0, np.cumsum(places >= 0))[excluded.indptr]
            places = places[places >= 0]
            shape = (len(users), len(self._items))
            excluded = sparse.csr_array(
                (np.ones(len(places), np.bool_), places, edges), shape=shape
            )
        some = None if allowed is None else allowed[self._items]
        best = self._engine.top(users, min(k, len(self._items)), excluded=excluded, allowed=some)
        return Top(np.where(best.items < 0, 0, self._items[best.items]), best.scores)


@dataclass(frozen=True)
class Recall:
    """The share of the exact best items that a graph finds.

    Attributes:
        mean: Over users.
        error: Its standard error.
        users: Their number.
        expansion: Items that the search keeps in sight.
    """

    mean: float
    error: float
    users: int
    expansion: int

    @property
    def suffices(self) -> bool:
        """True if it is at least `TARGET`, also for others than these users."""
        return self.mean - self.error >= TARGET


def vectors_of(engine: ItemEngine) -> torch.Tensor | None:
    """Vectors (n_items, r) of a graph for an engine; None: there can be none.

    It takes a function whose scores are products, on the CPU, and finite vectors that differ.
    """
    catalogue = engine.catalogue
    if not isinstance(catalogue, Catalogue) or not catalogue.is_product:
        return None
    vectors = catalogue.item_vectors()
    usable = vectors.device.type == "cpu" and vectors.numel() and bool(vectors.isfinite().all())
    return vectors if usable else None


def head_and_rest(vectors: NDArray[np.float32], rows: Numbers) -> tuple[Numbers, Numbers]:
    """The items with the longest vectors, a 64th of all, and the rest of some items (m,).

    The rest comes by direction. A graph keeps its items in the order in which they were added, and
    those that a search meets one after the other then lie side by side: with a million items it is
    built in half the time (docs/results/serving.md).
    """
    length = np.square(vectors[rows]).sum(axis=1)
    order = np.argsort(-length, kind="stable")
    count = len(rows) // _HEAD
    head, rest = np.sort(rows[order[:count]]), np.sort(rows[order[count:]])
    return head, rest[np.argsort(_directions(vectors, head, rest), kind="stable")]


def _directions(vectors: NDArray[np.float32], head: Numbers, rest: Numbers) -> Numbers:
    """For each of the rest the item of the head, of some, whose direction is nearest."""
    if not len(head):
        return np.zeros(len(rest), dtype=np.int64)
    some = vectors[head[:: -(-len(head) // _DIRECTIONS)]]
    unit = some / np.maximum(np.linalg.norm(some, axis=1, keepdims=True), 1e-30)
    found = [
        (vectors[rest[start : start + _CHUNK]] @ unit.T).argmax(axis=1)
        for start in range(0, len(rest), _CHUNK)
    ]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def may_pay(n_items: int) -> bool:
    """True if a graph may be faster than the exact engine for so many items."""
    return EXPANSIONS[0] * CANDIDATE_COST < n_items


def calibrated(
    engine: ItemEngine, graph: ItemGraph, users: UserVectors, candidate_cost: float | None = None
) -> Recall | None:
    """Raises the graph's expansion until it finds enough; measures against the exact engine.

    Args:
        engine: Exact.
        graph: Whose expansion is set.
        users: Some, b.
        candidate_cost: See `ApproximateEngine`.

    Returns:
        The last recall, which may not suffice; None: the exact engine is cheaper at any expansion.

    Raises:
        ScoreError: A score that is not a number.
    """
    exact = engine.top(users, LENGTH, allowed=graph.is_indexed).items
    approximate = ApproximateEngine(engine, graph, candidate_cost)
    recall = None
    for expansion in filter(approximate.is_cheaper, EXPANSIONS):
        graph.expansion = expansion
        found = approximate.top(users, LENGTH, allowed=graph.is_indexed).items
        hits = [len(np.intersect1d(a[a >= 0], b)) for a, b in zip(exact, found, strict=True)]
        shares = np.array(hits) / np.maximum((exact >= 0).sum(axis=1), 1)
        error = float(shares.std() / np.sqrt(len(shares)))
        recall = Recall(float(shares.mean()), error, len(shares), expansion)
        if recall.suffices:
            break
    return recall


def _refuse_lost(lost: Mask) -> None:
    for row in np.flatnonzero(lost)[:1]:
        raise ScoreError(int(row))


def _rows_of(users: UserVectors, rows: Numbers) -> UserVectors:
    places = torch.from_numpy(rows)
    biases = None if users.biases is None else users.biases[places]
    return UserVectors(users.vectors[places], biases)


def _stored(matrix: Any, items: Numbers) -> Mask:
    """Tells which items (b, c) the rows of a CSR (b, n_items) store: bool (b, c)."""
    n_rows, n_items = matrix.shape
    rows = np.arange(n_rows, dtype=np.int64)
    stored = np.repeat(rows, np.diff(matrix.indptr)) * n_items + matrix.indices
    return np.isin(rows[:, None] * n_items + items, stored)
