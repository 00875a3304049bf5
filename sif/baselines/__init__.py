"""Classical models that every run is compared with, each tuned on validation by a small grid."""

from __future__ import annotations

from sif.baselines.base import Baseline, Fitted, fit_best
from sif.baselines.bias import BIAS_ONLY, GLOBAL_MEAN
from sif.baselines.biased_mf import BIASED_MF
from sif.baselines.ease import EASE
from sif.baselines.implicit_models import ALS, BPR
from sif.baselines.popularity import POPULARITY

BASELINES: dict[str, Baseline] = {
    baseline.name: baseline
    for baseline in (POPULARITY, ALS, BPR, EASE, GLOBAL_MEAN, BIAS_ONLY, BIASED_MF)
}

__all__ = ["BASELINES", "Baseline", "Fitted", "fit_best"]
