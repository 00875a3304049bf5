"""Implicit-feedback factor models through the package `implicit`: ALS and BPR.

`implicit` samples BPR's negative items by popularity, which teaches the model to score an item
relative to its popularity; adding a multiple of the log popularity back undoes that (a logQ
correction) and is tuned like any other parameter. ALS runs on a GPU where the job does and
`implicit` can; elsewhere, and for BPR, whose updates race there, its CPU solvers do all.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import nn

from sif.baselines.axes import Axis
from sif.baselines.base import Baseline, Params, RowLoss, Serving, one_by_one
from sif.data.interactions.interactions import Interactions
from sif.errors import DataError
from sif.evaluation.evaluate import Scorer, pair_matrix
from sif.spaces.interaction.design import plain_product
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.registry import design_of
from sif.utils.optional import library


@dataclass(frozen=True, eq=False)
class FactorScorer:
    """User factors (n_users, d), item factors (n_items, d) and item offsets (n_items,)."""

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    offsets: NDArray[np.float32]

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (b, n_items) for users (b,)."""
        product: NDArray[np.float32] = self.users[users] @ self.items.T
        return product + self.offsets


def fit_als(
    train: Interactions, params: Params, seed: int, threads: int, *, on_gpu: bool = False
) -> FactorScorer:
    """Weighted matrix factorization by alternating least squares (Hu et al., ICDM 2008).

    Every interaction is a positive of weight `alpha`; an empty cell weighs 1.
    """
    users, items = factors_of(pair_matrix(train), params, seed, threads, on_gpu=on_gpu)
    return FactorScorer(users, items, np.zeros(train.sizes[1], dtype=np.float32))


def factors_of(
    pairs: sp.csr_matrix, params: Params, seed: int, threads: int, *, on_gpu: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factors of rows and of columns by `implicit`'s ALS.

    Args:
        pairs: CSR float32, confidences over `alpha`.
        params: `dimension`, `l2`, `alpha` and `epochs`.
        seed: Of the first factors.
        threads: Of the CPU.
        on_gpu: Whether a GPU does it, where there is one.
    """
    with _implicit() as implicit:
        use_gpu = on_gpu and bool(library("implicit.gpu", package="implicit").HAS_CUDA)
        model = implicit.als.AlternatingLeastSquares(
            factors=int(params["dimension"]),
            regularization=float(params["l2"]),
            alpha=float(params["alpha"]),
            iterations=int(params["epochs"]),
            num_threads=threads,
            random_state=seed,
            use_gpu=use_gpu,
        )
        model.fit(pairs, show_progress=False)
        model = model.to_cpu() if use_gpu else model
    return model.user_factors, model.item_factors


def fit_bpr(
    train: Interactions, grid: Sequence[Params], seed: int, *unused: object
) -> Iterator[Scorer]:
    """Bayesian personalized ranking (Rendle et al., UAI 2009), every interaction a positive.

    Neighbors in the grid that differ only in `epochs` or `popularity` (the multiple of the log
    popularity that is added to the scores) share one training. With more than one thread the
    updates race and no run repeats another, so one is used.
    """
    pairs = pair_matrix(train)
    log_count = np.log1p(np.asarray(pairs.sum(axis=0), dtype=np.float32).ravel())
    for members in _trainings(grid):
        epochs = {int(params["epochs"]) for params in members}
        snapshots = _train_bpr(pairs, members[0], epochs, seed)
        for params in members:
            users, items = snapshots[int(params["epochs"])]
            yield FactorScorer(users, items, np.float32(params["popularity"]) * log_count)


def als_network(scorer: FactorScorer, train: Interactions, *unused: object) -> InteractionNetwork:
    """The product of the factors."""
    return _product(scorer.users, scorer.items, None, train)


def als_row_loss(params: Params) -> RowLoss:
    """Least squares over all cells, of which the observed ones weigh `alpha`."""
    return RowLoss("whole-data", float(params["l2"]), extra=float(params["alpha"]) - 1)


def bpr_network(scorer: FactorScorer, train: Interactions, *unused: object) -> InteractionNetwork:
    """The product of the factors; their last column is the items' bias, times one of each user."""
    users, items = scorer.users[:, :-1], scorer.items[:, :-1]
    return _product(users, items, scorer.items[:, -1] + scorer.offsets, train)


def bpr_row_loss(params: Params) -> RowLoss:
    """Half of `l2` for each pair that is drawn, as its gradient steps have it."""
    return RowLoss("bpr", float(params["l2"]) / 2, 1.0)


def _product(
    users: NDArray[np.float32], items: NDArray[np.float32], offsets: NDArray[np.float32] | None,
    train: Interactions,
) -> InteractionNetwork:  # fmt: skip
    """The network whose scores are the product of factors (n, d), plus what every item gets."""
    shape = TableShape(
        (len(users), len(items)), users.shape[1], biases=offsets is not None, mixed_signs=False
    )
    design = design_of(plain_product(train.fields), train.fields)
    network = InteractionNetwork(design, shape, torch.Generator())
    for table, factors in zip(network.tables.embeddings, (users, items), strict=True):
        table.data = torch.from_numpy(np.ascontiguousarray(factors, dtype=np.float32))
    if offsets is not None:
        network.tables.biases[1] = nn.Parameter(torch.from_numpy(offsets))
    return network


def _trainings(grid: Sequence[Params]) -> list[list[Params]]:
    """The settings of each training."""
    shared = itemgetter("dimension", "learning_rate", "l2")
    return [list(members) for _, members in itertools.groupby(grid, shared)]


def _longest(grid: Sequence[Params]) -> list[Params]:
    """The setting of each training that trains longest."""
    return [max(members, key=itemgetter("epochs")) for members in _trainings(grid)]


def _train_bpr(
    pairs: Any, params: Params, epochs: set[int], seed: int
) -> dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """User and item factors after each of the wanted numbers of epochs."""
    snapshots: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
    with _implicit() as implicit:
        model = implicit.bpr.BayesianPersonalizedRanking(
            factors=int(params["dimension"]),
            learning_rate=float(params["learning_rate"]),
            regularization=float(params["l2"]),
            iterations=max(epochs),
            num_threads=1,
            random_state=seed,
            use_gpu=False,
        )

        def keep(epoch: int, *unused: object) -> None:
            if epoch + 1 in epochs:
                snapshots[epoch + 1] = (model.user_factors.copy(), model.item_factors.copy())

        model.fit(pairs, show_progress=False, callback=keep)
    return snapshots


@contextmanager
def _implicit() -> Iterator[Any]:
    """The package, imported late, quiet, with its errors told as ours."""
    implicit, base = library("implicit"), library("implicit.recommender_base")
    threads = library("threadpoolctl", package="implicit")
    # Its own threads call BLAS, so that BLAS must not start threads of its own.
    with warnings.catch_warnings(), threads.threadpool_limits(1, "blas"):
        warnings.simplefilter("ignore")
        try:
            yield implicit
        except base.ModelFitError as error:
            raise DataError(f"implicit: the fit diverged: {str(error).splitlines()[0]}") from error


ALS = Baseline(
    name="als",
    description="implicit ALS, weighted matrix factorization",
    objectives=frozenset({"ranking"}),
    grid=(
        {"dimension": 128, "l2": 20.0, "alpha": 2.0, "epochs": 15},
        {"dimension": 256, "l2": 15.0, "alpha": 1.0, "epochs": 15},
        {"dimension": 256, "l2": 20.0, "alpha": 2.0, "epochs": 15},
        {"dimension": 256, "l2": 30.0, "alpha": 3.0, "epochs": 15},
        {"dimension": 256, "l2": 30.0, "alpha": 5.0, "epochs": 15},
    ),
    fit_grid=one_by_one(fit_als),
    axes={"l2": Axis(factor=1.5), "alpha": Axis(factor=2.0)},
    on_gpu=one_by_one(partial(fit_als, on_gpu=True)),
    serving=Serving(als_network, als_row_loss),
)

BPR = Baseline(
    name="bpr",
    description="implicit BPR with its popularity correction",
    objectives=frozenset({"ranking"}),
    grid=tuple(
        {"dimension": 64, "learning_rate": rate, "l2": 0.02, "epochs": epochs, "popularity": power}
        for rate, stops in ((0.02, (40, 80, 120)), (0.01, (100, 150, 200)))
        for epochs in stops
        for power in (0.0, 0.5, 1.0, 1.5)
    ),
    fit_grid=fit_bpr,
    axes={"popularity": Axis(difference=0.5)},
    trained=_longest,
    serving=Serving(bpr_network, bpr_row_loss),
)
