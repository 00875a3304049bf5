"""Item-item models as baselines: their scorer, how they are served, and items' nearest others.

Neighbors are those of the item that is recommended: it counts what the k items nearest to it say,
whichever of them a history has. The other way round, as the package `implicit` has it, an item of a
history speaks for its own k nearest, which are popular ones: .214 in place of .243 on validation of
ML-100K (tf-idf, k 200).

Nothing of n_items x n_items is dense but the weights of small catalogs: co-occurrences come in
blocks of sparse rows, of which k are kept each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sif.baselines.base import Params
from sif.data.interactions.interactions import Interactions
from sif.evaluation.evaluate import pair_matrix
from sif.spaces.linear.design import given_genotype
from sif.spaces.linear.network import OrderNetwork
from sif.spaces.linear.weights import ItemWeights

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]
Similarity = Callable[[Floats, Ids, Ids], Floats]
"""(co-occurrence, target, source) of pairs of items, each (m,), to what source says for target."""

BLOCK = 1 << 22
"""Entries of a block of co-occurrences at most, unless one item has more: 32 MB."""
KEPT = 1 << 25
"""Entries of all blocks up to which they are kept for the next setting of a grid: 256 MB."""
LEAST = 1e-5
"""Score of the most popular item without a neighbor in the history, over the smallest weight: it
orders the items that nobody speaks for, which would all be ties."""
DENSE_SHARE = 1 / 8
"""Share of all items among the neighbors beyond which a product with dense weights is faster."""


@dataclass(frozen=True, eq=False)
class ItemItemScorer:
    """Scores from histories, CSR (n_users, n_items), and weights between items."""

    history: sp.csr_matrix
    weights: ItemWeights

    def scores(self, users: Ids) -> Floats:
        """Scores (b, n_items) for users (b,)."""
        return self.weights.scores(self.history[users])


def item_network(scorer: ItemItemScorer, train: Interactions, *unused: object) -> OrderNetwork:
    """The item-item model of the weights, whose histories are sets."""
    return OrderNetwork(given_genotype(()), train.sizes[1]).take(scorer.weights)


class Cooccurrences:
    """How often two items have the same user, in blocks of items.

    Args:
        pairs: 0/1 float32 CSR (n_users, n_items).
        user_weights: (n_users,) weight of each user; None: 1.
        targets: (m,) items whose neighbors are asked for; None: all.
    """

    def __init__(
        self, pairs: sp.csr_matrix, user_weights: NDArray[np.float64] | None = None,
        targets: Ids | None = None,
    ) -> None:  # fmt: skip
        n_users, self.n_items = pairs.shape
        weights = np.ones(n_users) if user_weights is None else user_weights
        self.targets = np.arange(self.n_items) if targets is None else targets
        weighted = sp.csr_matrix(pairs.T.multiply(weights.astype(np.float32)))
        self._pairs = pairs
        self._weighted = weighted if targets is None else weighted[targets]
        lengths = np.diff(pairs.indptr).astype(np.float64)
        entries = np.minimum((pairs.T @ lengths).astype(np.int64), self.n_items)[self.targets]
        self._starts = _starts(entries, BLOCK)
        self._kept: list[sp.csr_matrix] | None = [] if entries.sum() <= KEPT else None
        self.own: Floats = np.asarray(weighted.sum(axis=1), dtype=np.float32).ravel()
        """(n_items,) of each item with itself."""
        rows = np.asarray(pairs.sum(axis=0)).ravel()
        self._places = np.empty(self.n_items, dtype=np.float32)
        self._places[np.argsort(rows, kind="stable")] = np.linspace(0.0, 1.0, self.n_items)

    @property
    def is_kept(self) -> bool:
        """True if blocks are counted once."""
        return self._kept is not None

    def blocks(self) -> Iterator[tuple[int, sp.csr_matrix]]:
        """Place of the first target and co-occurrences, CSR (b, n_items), of each block."""
        for place, (start, end) in enumerate(zip(self._starts, self._starts[1:], strict=False)):
            if self._kept is not None and place < len(self._kept):
                yield start, self._kept[place]
                continue
            block = sp.csr_matrix(self._weighted[start:end] @ self._pairs)
            if self._kept is not None:
                self._kept.append(block)
            yield start, block

    def nearest(self, similarity: Similarity, most: int) -> Neighbors:
        """The sources that say most for each target; only pairs that co-occur say anything.

        Args:
            similarity: Of pairs of different items.
            most: Number of sources at most.
        """
        most = min(most, self.n_items)
        items = np.zeros((len(self.targets), most), dtype=np.int64)
        values = np.zeros((len(self.targets), most), dtype=np.float32)
        for start, block in self.blocks():
            ends = block.indptr.astype(np.int64)
            sources = block.indices.astype(np.int64)
            targets = np.repeat(self.targets[start : start + block.shape[0]], np.diff(ends))
            said = similarity(block.data, targets, sources).astype(np.float32)
            said[sources == targets] = 0.0
            for row in range(block.shape[0]):
                mine = slice(ends[row], ends[row + 1])
                top = _largest(said[mine], most)
                items[start + row, : len(top)] = sources[mine][top]
                values[start + row, : len(top)] = said[mine][top]
        return Neighbors(items, values, self.targets, self._places)


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The sources of each target, those that say most first.

    Attributes:
        items: int64 (m, k).
        values: float32 (m, k), what each says; 0: nothing.
        targets: (m,) whose sources they are.
        places: float32 (n_items,), of all items, from the rarest, 0, to the most popular, 1.
    """

    items: Ids
    values: Floats
    targets: Ids
    places: Floats

    def weights(self, k: int, factors: Floats | None = None) -> ItemWeights:
        """Weights from the first k sources, times a factor of each item (n_items,)."""
        items, values, n_items = self.items[:, :k], self.values[:, :k], len(self.places)
        if factors is not None:
            values = values * factors[self.targets, None]
        row, place = np.nonzero(values)
        source, target, value = items[row, place], self.targets[row], values[row, place]
        offsets = self.places * np.float32(LEAST * value.min(initial=1.0))
        if items.shape[1] > DENSE_SHARE * n_items:
            dense = np.zeros((n_items, n_items), dtype=np.float32)
            dense[source, target] = value
            return ItemWeights(dense, n_items, offsets=offsets)
        rest = sp.csr_matrix((value, (source, target)), shape=(n_items, n_items))
        return ItemWeights.sparse(rest, offsets)


def _starts(entries: Ids, most: int) -> Ids:
    """First items of blocks with at most so many entries, and the end of the last one."""
    ends, total = [0], 0
    for item, more in enumerate(entries.tolist()):
        if total and total + more > most:
            ends.append(item)
            total = 0
        total += more
    return np.array([*ends, len(entries)])


def _largest(values: Floats, most: int) -> Ids:
    """Places of the largest values, in descending order."""
    if len(values) > most:
        top = np.argpartition(values, len(values) - most)[len(values) - most :]
    else:
        top = np.arange(len(values))
    return top[np.argsort(-values[top], kind="stable")]


def counts(pairs: sp.csr_matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows of each user (n_users,) and of each item (n_items,), at least 1."""
    of_users, of_items = np.diff(pairs.indptr), np.asarray(pairs.sum(axis=0)).ravel()
    return np.maximum(of_users, 1.0), np.maximum(of_items, 1.0).astype(np.float64)


Key = Callable[[Params], object]
"""The part of a setting that it shares with its neighbors in a grid."""

SAMPLED = 400
"""Targets whose seconds tell those of all."""
REPEATS = 3
"""Measurements."""


def tuning_seconds(
    train: Interactions, grid: Sequence[Params], together: Key, similarity: Key
) -> list[float]:
    """Seconds of each fit of a grid with its scores, by those of some targets.

    Args:
        train: Part that is fitted.
        grid: With `k`; neighbors share co-occurrences, and similarities, where the keys are equal.
        together: Key of co-occurrences.
        similarity: Key of the nearest items.
    """
    pairs = pair_matrix(train)
    n_items = pairs.shape[1]
    some = Cooccurrences(pairs, targets=np.arange(0, n_items, max(1, n_items // SAMPLED)))
    times = n_items / len(some.targets)
    columns = sp.csr_matrix(pairs.T)[some.targets]
    counting = _seconds(lambda: columns @ pairs)
    most = max(int(one["k"]) for one in grid)
    weights = some.nearest(_shared, most).weights(most)  # counts, so that sorting is told apart
    sorting = _seconds(lambda: some.nearest(_shared, most))
    said = (weights.dense if weights.rest is None else weights.rest)[:, some.targets]
    scoring = _seconds(lambda: pairs @ said)
    kept, found = Cooccurrences(pairs).is_kept, []
    last: tuple[object, object] = (None, None)
    for params in grid:
        key = together(params), similarity(params)
        seconds = scoring * int(params["k"]) / most
        if key != last:
            seconds += sorting + (0.0 if kept and key[0] == last[0] else counting)
        found.append(times * seconds)
        last = key
    return found


def _shared(shared: Floats, targets: Ids, sources: Ids) -> Floats:
    """The co-occurrence as it is."""
    return shared


def _seconds(work: Callable[[], object]) -> float:
    """Seconds of a piece of work, the fastest of a few, since other processes may hold one up."""
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
