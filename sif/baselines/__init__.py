"""Models that runs are compared with, tuned on validation: classical ones, and those in order."""

from __future__ import annotations

from sif.baselines.base import Baseline, fit_best
from sif.baselines.bias import BIAS_ONLY, GLOBAL_MEAN
from sif.baselines.biased_mf import BIASED_MF
from sif.baselines.ease import EASE
from sif.baselines.implicit_models import ALS, BPR
from sif.baselines.item_knn import ITEM_KNN
from sif.baselines.ordered import DECAYED_RIDGE, MARKOV, RECENT_POPULARITY
from sif.baselines.popularity import POPULARITY
from sif.baselines.rp3beta import RP3BETA
from sif.baselines.slim import SLIM
from sif.config import did_you_mean
from sif.errors import ConfigError
from sif.evaluation.evaluate import Objective

BASELINES: dict[str, Baseline] = {
    baseline.name: baseline
    for baseline in (
        POPULARITY,
        RECENT_POPULARITY,
        MARKOV,
        ALS,
        BPR,
        ITEM_KNN,
        RP3BETA,
        EASE,
        SLIM,
        DECAYED_RIDGE,
        GLOBAL_MEAN,
        BIAS_ONLY,
        BIASED_MF,
    )
}


SIMPLEST_FIRST = (
    "popularity", "recent-popularity", "markov", "item-knn", "rp3beta", "ease", "decayed-ridge",
    "slim", "als", "bpr",
)  # fmt: skip
"""Names of those that may be served: one order for all, counts, one closed form, alternating ones,
gradient steps. Searched functions come behind them."""


def named_baselines(names: tuple[str, ...], objective: Objective) -> tuple[str, ...]:
    """The requested baselines of an objective; "all" alone: all of them.

    Raises:
        ConfigError: An unknown name, or a baseline that does not serve the objective.
    """
    fit = tuple(name for name, baseline in BASELINES.items() if objective in baseline.objectives)
    if names == ("all",):
        return fit
    for name in names:
        if name not in BASELINES:
            raise ConfigError(
                f"baselines: unknown {name!r}{did_you_mean(name, BASELINES)}; "
                f"expected all or some of {', '.join(fit)}"
            )
        if name not in fit:
            raise ConfigError(
                f"baselines: {name!r} does not serve objective {objective!r}; "
                f"expected some of {', '.join(fit)}"
            )
    return names


__all__ = ["BASELINES", "SIMPLEST_FIRST", "Baseline", "fit_best", "named_baselines"]
