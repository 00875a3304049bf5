"""The sample on which candidates in order are judged: popular items and some users."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from sif.data.interactions import Interactions
from sif.evaluation.histories import seconds_of
from sif.evaluation.metrics import ranking_metrics
from sif.spaces.linear.design import LinearDesign
from sif.spaces.linear.ridge import seen
from sif.spaces.linear.sequences import Sequences
from sif.spaces.linear.supernet import Judged, OrderContext, OrderSpace, Scores

ITEMS, USERS = 1000, 2000
"""Items, the most popular ones, and users on which candidates are judged."""
FEW = 50
"""Users on which the scale of the scores is trained."""
TAIL = 4
"""Last train rows of each user that are judged beside a single valid row."""
NEARLY = 0.99
"""Share of the valid rows that come after all train rows of their users."""
LEAST = 1e-6
"""NDCG below which designs are equal."""
K = 10
"""Cut-off of the metric that decides."""


class OrderSample:
    """Popular items and some users, under numbers of their own.

    Where every user's one valid row comes after his train rows, the last train rows are judged as
    well, each by what came before it, and are not fitted: on small data one row of each user tells
    close designs apart by chance alone.

    Args:
        train: What weights are fitted on.
        batch: Histories and the items that follow them.
    """

    def __init__(self, train: Sequences, batch: Judged) -> None:
        self.train, self.batch, self.few = train, batch, batch.first(FEW)
        self._seen = seen(batch.known)
        self._rows = np.flatnonzero(np.diff(batch.truth.indptr))

    @classmethod
    def of(cls, train: Interactions, valid: Interactions, seed: int) -> OrderSample:
        """Of the users with validation rows, and of the most popular items."""
        counts = np.bincount(train.ids[:, 1], minlength=train.sizes[1])
        items = np.sort(np.argsort(-counts, kind="stable")[:ITEMS])
        known = np.unique(valid.ids[:, 0])
        draws = np.random.default_rng([seed, 0x0D])
        users = np.sort(draws.permutation(known)[:USERS])
        numbers = [np.full(size, -1) for size in train.sizes[:2]]
        for number, kept in zip(numbers, (users, items), strict=True):
            number[kept] = np.arange(len(kept))

        def within(part: Interactions) -> tuple[Interactions, NDArray[np.int64]]:
            ids = np.stack([n[part.ids[:, f]] for f, n in enumerate(numbers)], axis=1)
            inside = np.asarray((ids >= 0).all(axis=1), dtype=np.bool_)
            return part.select(inside), ids[inside]

        rows, ids = within(train)
        _, wanted = within(valid)
        shape = len(users), len(items)
        place = rows.order
        seconds = seconds_of(rows)
        sequences = Sequences.of(
            ids[place, 0], ids[place, 1], shape, np.arange(len(place)),
            None if seconds is None else seconds[place],
        )  # fmt: skip
        tail = TAIL if _follows_alone(train, valid) else 0
        return cls(*_with_tail(sequences, _marked(wanted, shape), tail))

    def best_l2(self, design: LinearDesign, grid: tuple[float, ...], first: float) -> float:
        """The penalty under which a design errs least, by a walk from a first one."""
        context = OrderContext(self.train, first, first, self.error, grid)
        space = OrderSpace(context)
        space.suit(self.batch, design)
        return float(space.l2)

    def judged(self, design: LinearDesign, l2: float) -> float:
        """The error of a design under a penalty."""
        return OrderSpace(OrderContext(self.train, l2, l2, self.error)).error(self.batch, design)

    def error(self, batch: Judged, scores: Scores) -> float:
        """The inverse of NDCG@10; the same for all where no item of the sample is to be found."""
        rows, k = self._rows, min(K, scores.shape[1])
        if not len(rows):
            return 1 / LEAST
        open_scores = scores.copy()
        open_scores[self._seen.nonzero()] = -np.inf
        top = torch.from_numpy(open_scores[rows]).topk(k).indices.numpy()
        relevant = batch.truth[rows].toarray() > 0
        hits = np.take_along_axis(relevant, top, axis=1)
        found = ranking_metrics(hits, relevant.sum(axis=1))[f"ndcg@{k}"].mean()
        return 1 / max(float(found), LEAST)


def _marked(pairs: NDArray[np.int64], shape: tuple[int, int]) -> sp.csr_matrix:
    """Pairs (n, 2) as a matrix of ones."""
    found = sp.csr_matrix((np.ones(len(pairs), np.float32), (pairs[:, 0], pairs[:, 1])), shape)
    found.sum_duplicates()
    return found


def _follows_alone(train: Interactions, valid: Interactions) -> bool:
    """True if nearly every user of validation has one row there, after all of his train rows."""
    last = np.full(train.sizes[0], np.iinfo(np.int64).min)
    assert train.moment is not None and valid.moment is not None  # noqa: S101
    np.maximum.at(last, train.ids[:, 0], train.moment)
    after = valid.moment >= last[valid.ids[:, 0]]
    alone = len(valid) < 2 * len(np.unique(valid.ids[:, 0]))
    return bool(after.mean() > NEARLY and alone)


def _with_tail(sequences: Sequences, truth: sp.csr_matrix, tail: int) -> tuple[Sequences, Judged]:
    """The fitted and the judged part, the last places of long enough sequences among the latter.

    Args:
        sequences: Of the train part.
        truth: CSR (n_users, n_items), the valid rows.
        tail: Places of each user that are judged.
    """
    long_enough = (sequences.lengths >= 2 * tail)[sequences.users]
    known, truths = [sequences], [truth]
    for left in range(tail):
        known.append(sequences.where(long_enough & (sequences.left > left)))
        at = long_enough & (sequences.left == left)
        pairs = np.stack([sequences.users[at], sequences.items[at]], axis=1)
        truths.append(_marked(pairs, truth.shape))
    fitted = sequences.where(~long_enough | (sequences.left >= tail))
    return fitted, Judged(Sequences.stacked(known), sp.csr_matrix(sp.vstack(truths)))
