"""RP3beta: a random walk of three steps, popularity divided out (Paudel et al., TiiS 2017).

From a user to an item, to another of its users, to another of his items: the walk's probabilities
are raised to alpha (P3alpha: Cooper et al., WWW 2014), the outcome is divided by items' rows to
beta (Paudel et al., section 4.2). With n the rows of an item or a user, item i of a history says
n_i^-alpha n_j^-beta sum_u n_u^-alpha for item j, over the users u of both; j counts its k largest.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from sif.baselines.axes import Axis
from sif.baselines.base import Baseline, Params, Serving
from sif.baselines.item_item import (
    Cooccurrences,
    Floats,
    Ids,
    ItemItemScorer,
    counts,
    item_network,
    tuning_seconds,
)
from sif.data.interactions.interactions import Interactions
from sif.evaluation.evaluate import Scorer, pair_matrix


def fit_rp3beta(train: Interactions, grid: Sequence[Params], *unused: object) -> Iterator[Scorer]:
    """One model per setting of `alpha`, `beta` and `k`; those of one alpha share their walk."""
    pairs = pair_matrix(train)
    of_users, of_items = counts(pairs)
    for alpha, alike in itertools.groupby(grid, _alpha):
        settings = list(alike)
        back = (of_items**-alpha).astype(np.float32)

        def walk(shared: Floats, targets: Ids, sources: Ids, back: Floats = back) -> Floats:
            return shared * back[sources]

        most = max(int(one["k"]) for one in settings)
        nearest = Cooccurrences(pairs, of_users**-alpha).nearest(walk, most)
        for one in settings:
            popularity = (of_items ** -float(one["beta"])).astype(np.float32)
            yield ItemItemScorer(pairs, nearest.weights(int(one["k"]), popularity))


def _alpha(params: Params) -> float:
    """Of a setting."""
    return float(params["alpha"])


RP3BETA = Baseline(
    name="rp3beta",
    description="random walk of three steps, popularity divided out",
    objectives=frozenset({"ranking"}),
    grid=tuple(
        {"k": 200, "alpha": alpha, "beta": beta}
        for alpha in (0.2, 0.5, 0.8)
        for beta in (0.1, 0.3, 0.5)
    ),
    fit_grid=fit_rp3beta,
    further=0.7,
    fit_seconds=partial(tuning_seconds, together=_alpha, similarity=_alpha),
    axes={
        "k": Axis(factor=2.0, low=1),
        "alpha": Axis(difference=0.15),
        "beta": Axis(difference=0.1),
    },
    serving=Serving(item_network),
)
