"""Baselines that know the order of interactions: recent popularity, Markov, decayed ridge.

All three predict what a user takes next after the last of his train rows. Data without times or an
order of rows (`data.order=rows`) have no order, and these baselines are left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from sif.baselines.axes import Axis
from sif.baselines.base import Baseline, Params, Serving, TableScorer, one_by_one
from sif.baselines.ease import REPEATS
from sif.baselines.popularity import SERVED_ORDER
from sif.data.interactions.interactions import Interactions
from sif.evaluation.evaluate import Scorer
from sif.evaluation.histories import HistoryReader, sequences_of
from sif.evaluation.item_orders import HALF_LIVES, RecentPopularity
from sif.evaluation.scorers import HistoryScorer
from sif.spaces.linear.design import given_genotype
from sif.spaces.linear.gram import Normal
from sif.spaces.linear.inputs import most_solved
from sif.spaces.linear.network import OrderNetwork
from sif.spaces.linear.ridge import HistorySolver, Sizes, histories, solution_sizes, solve
from sif.spaces.linear.sequences import Decay, Sequences
from sif.spaces.linear.weights import ItemWeights
from sif.utils.device import torch_threads

MEASURED = 1024
"""Side of a matrix that tells the seconds of larger ones."""
LARGER = 1.5
"""How many times faster an operation is in larger matrices, which use caches and threads better:
1.3 to 1.8 with 3,416 to 9,724 items on two cores of a Xeon."""
DECAY = Decay(0.8, 20)
"""The single time scale of the decayed ridge; chosen on validation of ML-1M and of Beauty."""


def fit_recent(train: Interactions, params: Params, *unused: object) -> TableScorer:
    """Popularity that halves with age; `half_life` is a share of the train part's time.

    Raises:
        DataError: Nothing tells the order.
    """
    return TableScorer.of(RecentPopularity(float(params["half_life"])), train)


@dataclass(frozen=True, eq=False)
class LastItemScorer:
    """Scores of what follows the last item of each user.

    Attributes:
        last: (n_users,) last item; -1: none.
        follows: CSR (n_items, n_items), how often an item followed another.
        popularity: (n_items,) share of each item.
        smoothing: Rows of popularity that are added to those that followed.
    """

    last: NDArray[np.int64]
    follows: sp.csr_matrix
    popularity: NDArray[np.float64]
    smoothing: float

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (b, n_items) for users (b,)."""
        last = self.last[users]
        counts = self.follows[np.maximum(last, 0)].toarray() * (last >= 0)[:, None]
        return np.asarray(counts + self.smoothing * self.popularity, dtype=np.float32)

    def knowing(self, rows: Interactions) -> LastItemScorer:
        """The same chain where users have these rows alone."""
        return replace(self, last=_last_items(sequences_of(rows)))


def _last_items(sequences: Sequences) -> NDArray[np.int64]:
    """(n_users,) last item; -1: none."""
    ends = np.maximum(sequences.starts[1:] - 1, 0)
    return np.where(sequences.lengths > 0, sequences.items[ends], -1)


def fit_markov(train: Interactions, grid: Sequence[Params], *unused: object) -> Iterator[Scorer]:
    """A Markov chain of items, smoothed by `smoothing` rows of popularity.

    Raises:
        DataError: Nothing tells the order.
    """
    sequences = sequences_of(train)
    n = sequences.n_items
    before = np.flatnonzero(sequences.left >= 1)
    pairs = sequences.items[before], sequences.items[before + 1]
    follows = sp.csr_matrix((np.ones(len(before)), pairs), (n, n))
    popularity = np.bincount(sequences.items, minlength=n) / max(len(sequences.items), 1)
    last = _last_items(sequences)
    for params in grid:
        yield LastItemScorer(last, follows, popularity, float(params["smoothing"]))


def markov_network(scorer: LastItemScorer, train: Interactions, *unused: object) -> OrderNetwork:
    """The item-item model whose history is the last item."""
    offsets = (scorer.smoothing * scorer.popularity).astype(np.float32)
    model = OrderNetwork(given_genotype([Decay(1.0, 1)]), train.sizes[1])
    return model.take(ItemWeights.sparse(scorer.follows, offsets))


class Discounted:
    """A model whose scores are divided by a power of popularity.

    Args:
        scorer: The model.
        power: (n_items,) factor of each item.
    """

    def __init__(self, scorer: HistoryReader, power: NDArray[np.float32]) -> None:
        self._scorer, self._power = scorer, power

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (b, n_items) for users (b,)."""
        return self._scorer.scores(users) * self._power

    def knowing(self, rows: Interactions) -> Discounted:
        """The same where users have these rows alone."""
        return Discounted(self._scorer.knowing(rows), self._power)

    def weights(self) -> ItemWeights:
        """The weights of an item-item model, from here on with the division in them."""
        assert isinstance(self._scorer, HistoryScorer)  # noqa: S101
        weights = self._scorer.weights
        assert isinstance(weights, ItemWeights)  # noqa: S101
        weights.scale_items(self._power)
        return weights


def fit_decayed(train: Interactions, grid: Sequence[Params], *unused: object) -> Iterator[Scorer]:
    """Ridge regression of the next item on the history that decays by `DECAY`.

    The grid has `l2`, in rows, and `discount`, the power of popularity that divides scores.
    Settings of one `l2` stand together.

    Raises:
        DataError: Nothing tells the order.
    """
    sequences = sequences_of(train)
    counts = np.bincount(sequences.items, minlength=sequences.n_items)
    solver = HistorySolver(sequences, [DECAY])
    read, l2, weights = partial(histories, decays=[DECAY]), None, None
    for params in grid:
        if params["l2"] != l2:
            l2, weights = float(params["l2"]), None  # before the next ones are made
            weights = solver.weights(l2)
        assert weights is not None  # noqa: S101
        power = ((counts + 1.0) ** -float(params["discount"])).astype(np.float32)
        yield Discounted(HistoryScorer(read, sequences, weights), power)


def decayed_network(scorer: Discounted, train: Interactions, *unused: object) -> OrderNetwork:
    """The item-item model of one time scale."""
    model = OrderNetwork(given_genotype([DECAY]), train.sizes[1])
    return model.take(scorer.weights())


def decayed_numbers(n_users: int, n_items: int) -> int:
    """Floats of a fit at work, of kept products, and of the best weights so far, at most."""
    return Sizes(most_solved(n_items, 1), 1, n_items).grid_bytes(size=1)


def ridge_seconds(sizes: Sizes) -> float:
    """Seconds of a solution, by that of a smaller one, the fastest of a few.

    It is measured on one thread, as `sif.baselines.ease.inversion_seconds` is.
    """
    small, threads, seconds = min(sizes.inputs, MEASURED), torch.get_num_threads(), []
    with torch_threads(1):
        for _ in range(REPEATS):
            normal = Normal(torch.eye(small) + 1.0 / small, torch.ones(small, small))
            begin = time.perf_counter()
            solve(normal, 1.0)
            seconds.append(time.perf_counter() - begin)
    work = sizes.operations / Sizes(small, 1, small).operations
    return float(min(seconds) * work / (threads * LARGER))


def decayed_seconds(train: Interactions, grid: Sequence[Params]) -> list[float]:
    """Seconds of each fit."""
    counts = np.bincount(train.ids[:, 1], minlength=train.sizes[1])
    return [ridge_seconds(solution_sizes(counts, 1))] * len(grid)


RECENT_POPULARITY = Baseline(
    name="recent-popularity",
    description="popularity that halves with age",
    objectives=frozenset({"ranking"}),
    grid=tuple({"half_life": share} for share in HALF_LIVES),
    fit_grid=one_by_one(fit_recent),
    axes={"half_life": Axis(factor=4.0, high=1.0)},
    serving=SERVED_ORDER,
)

MARKOV = Baseline(
    name="markov",
    description="what followed the user's last item",
    objectives=frozenset({"ranking"}),
    grid=tuple({"smoothing": rows} for rows in (0.1, 1.0, 10.0, 100.0)),
    fit_grid=fit_markov,
    axes={"smoothing": Axis(factor=10.0)},
    serving=Serving(markov_network),
)

DECAYED_RIDGE = Baseline(
    name="decayed-ridge",
    description="ridge regression of the next item on a decayed history",
    objectives=frozenset({"ranking"}),
    grid=tuple(
        {"l2": l2, "discount": discount} for l2 in (20.0, 100.0, 500.0) for discount in (0.0, 0.1)
    ),
    fit_grid=fit_decayed,
    axes={"l2": Axis(factor=5.0), "discount": Axis(difference=0.1)},
    fit_seconds=decayed_seconds,
    matrices=decayed_numbers,
    serving=Serving(decayed_network),
)
