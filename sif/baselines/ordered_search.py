"""The search for the order model of some data: NASP over time scales, target and popularity.

Judging a candidate takes a closed-form fit, so candidates are judged on the most popular items and
on some users; the result is then fitted on everything, over a grid of penalties.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from sif.baselines.base import Baseline, Params
from sif.baselines.ease import EASE, LinearScorer
from sif.baselines.ordered import (
    KEPT_ITEMS,
    MAX_ITEMS,
    Discounted,
    ridge_seconds,
    sequences_of,
)
from sif.core.method import Plan
from sif.data.interactions.interactions import Interactions
from sif.errors import DataError
from sif.evaluation.evaluate import Scorer
from sif.evaluation.metrics import ranking_metrics
from sif.methods.nasp import Nasp, NaspSettings
from sif.spaces.linear.design import NONE, SCALES, LinearDesign, linear_design
from sif.spaces.linear.gram import Products
from sif.spaces.linear.ridge import grid_bytes, histories, solve, solving_bytes
from sif.spaces.linear.sequences import Decay, Sequences
from sif.spaces.linear.supernet import Judged, OrderContext, OrderSpace, Scores, seen

ITEMS, USERS = 1000, 2000
"""Items, the most popular ones, and users on which candidates are judged."""
STEPS = 20
"""Architecture steps at most; the search ends once no replacement is better."""
SMALL = 1e-3
"""Share of the error that is no gain."""
L2 = (20.0, 50.0, 100.0, 200.0, 500.0)
"""Penalties, in rows."""
SETTINGS = NaspSettings(
    warmup=0.0, arch_start=0.0, explore=0.0, settle_steps=0, score="replacement_loss",
    arch_optimizer="plain", arch_lr=1.0,
)  # fmt: skip
"""Every weight is exact, so nothing warms up, and a step may be as long as a score."""
SINGLE = LinearDesign((Decay(0.8, 16),))
SET = LinearDesign(())
"""The designs on which the search chooses its penalties."""
FITS = 40
"""Designs that a search judges, about."""
K = 10
"""Cut-off of the metric that decides."""


def search_order(train: Interactions, valid: Interactions, seed: int) -> Sequence[Params]:
    """The grid of the order model that NASP finds.

    Args:
        train: Part that is fitted.
        valid: Part that decides.
        seed: Of the drawn users and of ties.

    Raises:
        DataError: Nothing tells the order.
    """
    sample = _Sample.of(train, valid, seed)
    l2, set_l2 = (sample.best_l2(design) for design in (SINGLE, SET))
    space = OrderSpace(OrderContext(sample.train, l2, set_l2, sample.error))
    method = Nasp(space, SETTINGS, Plan(STEPS), torch.Generator().manual_seed(seed))
    for _ in range(STEPS):
        report = method.arch_step(space, sample.batch, sample.batch)
        scores = report.scores["replacement_loss"].values()
        if min(float(score.min()) for score in scores) > -SMALL:
            break
    design = linear_design(space.genotype(method.best_gates()))
    return grid_of(design)


class _Sample:
    """Popular items and some users, under numbers of their own."""

    def __init__(self, train: Sequences, truth: sp.csr_matrix) -> None:
        self.train, self.batch = train, Judged(train, truth)
        self._seen = seen(train)
        self._rows = np.flatnonzero(np.diff(truth.indptr))

    @classmethod
    def of(cls, train: Interactions, valid: Interactions, seed: int) -> _Sample:
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
        sequences = Sequences.of(ids[place, 0], ids[place, 1], shape, np.arange(len(place)))
        ones = np.ones(len(wanted), np.float32)
        truth = sp.csr_matrix((ones, (wanted[:, 0], wanted[:, 1])), shape)
        truth.sum_duplicates()
        return cls(sequences, truth)

    def best_l2(self, design: LinearDesign) -> float:
        """The penalty under which a design errs least."""

        def error(l2: float) -> float:
            context = OrderContext(self.train, l2, l2, self.error)
            return OrderSpace(context).error(self.batch, design)

        return min(L2, key=error)

    def error(self, batch: Judged, scores: Scores) -> float:
        """The inverse of NDCG@10."""
        open_scores = np.array(scores, dtype=np.float64)
        open_scores[self._seen.nonzero()] = -np.inf
        k = min(K, open_scores.shape[1])
        rows = self._rows
        top = np.argsort(-open_scores[rows], axis=1, kind="stable")[:, :k]
        relevant = batch.truth[rows].toarray() > 0
        hits = np.take_along_axis(relevant, top, axis=1)
        found = ranking_metrics(hits, relevant.sum(axis=1))[f"ndcg@{k}"].mean()
        return 1 / max(float(found), 1e-6)


def grid_of(design: LinearDesign) -> Sequence[Params]:
    """Parameters of a design: decays and windows by their place, discount and penalties."""
    if not design.decays:
        return [{"l2": l2, "discount": design.discount} for l2 in L2]
    scales: dict[str, float] = {}
    for place, decay in enumerate(design.decays):
        scales[f"gamma.{place}"] = decay.gamma
        scales[f"window.{place}"] = decay.window or 0
    return [{**scales, "l2": l2, "discount": design.discount} for l2 in L2]


def design_of(params: Params) -> LinearDesign:
    """The design of parameters of `grid_of`."""
    places = sorted(name.partition(".")[2] for name in params if name.startswith("gamma."))
    decays = tuple(
        Decay(float(params[f"gamma.{p}"]), int(params[f"window.{p}"]) or None) for p in places
    )
    return LinearDesign(decays, float(params["discount"]))


def fit_order(
    train: Interactions, grid: Sequence[Params], seed: int, threads: int
) -> Iterator[Scorer]:
    """One order model per setting, all of one design.

    Raises:
        DataError: Nothing tells the order, or the items are too many for a dense solution.
    """
    design = design_of(grid[0])
    counts = np.bincount(train.ids[:, 1], minlength=train.sizes[1]) + 1.0
    power = (counts**-design.discount).astype(np.float32)
    if not design.decays:
        for scorer in EASE.fit_grid(train, grid, seed, threads):
            yield Discounted(scorer, power)
        return
    sequences = sequences_of(train)
    if sequences.n_items * len(design.decays) > MAX_ITEMS:
        raise DataError(
            f"baseline order: expected at most {MAX_ITEMS} items times scales, found "
            f"{sequences.n_items} times {len(design.decays)}"
        )
    known = histories(sequences, design.decays)
    products = Products(sequences, dtype=torch.float32)
    for params in grid:
        keep = sequences.n_items <= KEPT_ITEMS
        weights = solve(products.normal(design.decays, keep), float(params["l2"]))
        weights.mul_(torch.from_numpy(power))
        scorer = LinearScorer(known, weights.numpy())
        del weights
        yield scorer
        del scorer


def order_seconds(train: Interactions) -> float:
    """Seconds of a fit with two scales, and its share of the search."""
    n_items = train.sizes[1]
    judged = FITS * ridge_seconds(min(n_items, ITEMS), 3)
    return ridge_seconds(n_items, 2) + judged / len(L2)


def order_numbers(n_users: int, n_items: int, scales: int = 3) -> int:
    """Floats of the search, or of a fit with three scales, kept products and the best weights."""
    fit = grid_bytes(n_items, scales, n_items <= KEPT_ITEMS, size=1)
    return max(fit, searching_numbers(min(n_items, ITEMS), min(n_users, USERS)))


def searching_numbers(n_items: int, n_users: int) -> int:
    """Floats of the products of all decays by themselves and in pairs, a solution and scores."""
    sizes = [sum(name != NONE for name in names) for names in SCALES.values()]
    pairs = (sum(sizes) ** 2 - sum(size**2 for size in sizes)) // 2
    blocks = 2 * sum(sizes) + pairs + 2 * len(sizes)  # two solutions are held
    return solving_bytes(n_items, 3, size=1) + blocks * n_items**2 + 5 * n_users * n_items


ORDER = Baseline(
    name="order",
    description="item-item model of searched time scales (NASP)",
    objectives=frozenset({"ranking"}),
    grid=tuple(grid_of(SINGLE)),
    fit_grid=fit_order,
    search=search_order,
    setting_seconds=order_seconds,
    matrices=order_numbers,
)
