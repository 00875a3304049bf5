"""Features of items in closed forms: a stage behind the search decides on them.

They come last, and stay only where they clearly help: a search that saw them as one constant of
many would keep useless ones by chance about every other time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sif.errors import DivergedError
from sif.problems.closed_sample import ClosedSample
from sif.problems.feature_trial import FeatureTrial, clearly_ahead, not_tried
from sif.spaces.closed.family import Family
from sif.spaces.closed.item_item import FEATURES, ItemItem
from sif.utils.climb import Climb

NEAR = 0.7
"""Merit of the best item-item model, over that of the best design, from which it is tried. Where
features matter, they add a fifth and more to it."""
FIRST = 0.1
"""Weight that is tried first."""
BESIDE = ("l2", "dropout", "discount")
"""Constants that are walked over once more."""


def with_features(
    best: Family, finals: Mapping[type[Family], tuple[Family, float]], sample: ClosedSample,
    metric: str,
) -> tuple[Family, Mapping[str, Any]]:  # fmt: skip
    """The best design, or an item-item model with features that is ahead of it, and the trial.

    Features have to be clearly ahead of the same kind of model without them, and of the best:
    a lead within the noise of validation was .0055 NDCG@10 behind on test (MovieLens-1M, seed 0).

    Args:
        best: That a search without features found.
        finals: The best of each family, with its merit.
        sample: Judges.
        metric: Name of what it judges by.

    Returns:
        The design, and the document of `sif.problems.feature_trial`; empty: there are no features.
    """
    if sample.clicks.features is None:
        return best, {}
    if not sample.clicks.alike.nnz:
        return best, not_tried("no two known items share a feature")
    if ItemItem not in finals:
        return best, not_tried("no item-item model was fitted")
    own, merit = finals[ItemItem]
    most = max(value for _, value in finals.values())
    if merit < NEAR * most:
        reason = f"the best item-item model is too far behind: {metric} {merit:.4f} against "
        return best, not_tried(f"{reason}{most:.4f}")
    try:
        other, values = _climbed(own, sample)
        rivals = [sample.merits(one) for one in {own, best}]
    except DivergedError:
        return best, not_tried("no item-item model with features could be fitted")
    ahead = all(clearly_ahead(values, known) for known in rivals)
    hardest = max(rivals, key=lambda known: float(known.mean()) if len(known) else 0.0)
    trial = FeatureTrial.of(metric, values, hardest, ahead)
    return other if ahead else best, trial.document()


def _climbed(own: Family, sample: ClosedSample) -> tuple[Family, NDArray[np.float64]]:
    """The best weight of features, then of constants beside it, and their merits by user."""
    best, values = own, np.zeros(0)
    for name in ("features", *BESIDE):
        grid = FEATURES[1:] if name == "features" else ItemItem.grids[name]
        first = FIRST if name == "features" else own.constants[name]
        climb, found = Climb(grid, first), dict[float, NDArray[np.float64]]()
        while (value := climb.next()) is not None:
            found[value] = sample.merits(replace(best, **{name: value}))
            climb.tell(float(found[value].mean()) if len(found[value]) else 0.0)
        best, values = replace(best, **{name: climb.best}), found[climb.best]
    return best, values
