"""`sif.Recommender`: searches, trains, recommends, folds in new users, saves and loads."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sif.recommender.former import SIFRecommender as SIFRecommender
    from sif.recommender.recommender import Recommender as Recommender

_MODULES = {
    "Recommender": "sif.recommender.recommender",
    "SIFRecommender": "sif.recommender.former",
}
_TODAY = {"SIFRecommender": "sif.Recommender, whose answers are data frames"}


def __getattr__(name: str) -> Any:
    if name in _TODAY:
        text = f"sif.recommender.{name} is deprecated: use {_TODAY[name]}"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'sif.recommender' has no attribute {name!r}")
