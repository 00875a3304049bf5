"""Tracking of jobs: loops log to a JSON-lines file and to MLflow, or nowhere.

Loops know only `Tracker`; `open_tracker` builds what the configuration asks for.
MLflow is imported when it is used, and a store that fails costs one warning, never the job.
"""

from __future__ import annotations

from sif.tracking.base import (
    COMMON,
    Introduction,
    NullTracker,
    Status,
    Tee,
    TrackedData,
    TrackedModel,
    Tracker,
)
from sif.tracking.jsonl import JsonlTracker
from sif.tracking.mlflow_entities import metric_name
from sif.tracking.mlflow_store import MlflowTracker
from sif.tracking.open import check_installed, open_tracker

__all__ = [
    "COMMON",
    "Introduction",
    "JsonlTracker",
    "MlflowTracker",
    "NullTracker",
    "Status",
    "Tee",
    "TrackedData",
    "TrackedModel",
    "Tracker",
    "check_installed",
    "metric_name",
    "open_tracker",
]
