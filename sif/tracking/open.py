"""Builds the tracker that a configuration asks for."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from sif.config import TrackingConfig
from sif.errors import TrackingError
from sif.tracking.base import Tee, Tracker, TrackerState
from sif.tracking.jsonl import JsonlTracker
from sif.tracking.mlflow_store import NOT_INSTALLED, MlflowTracker, check_store


def check_installed(settings: TrackingConfig) -> None:
    """Raises TrackingError where MLflow is wanted and not installed, or required and unusable."""
    if settings.enabled and importlib.util.find_spec("mlflow") is None:
        raise TrackingError(NOT_INSTALLED)
    if settings.enabled and settings.required:
        check_store(settings.uri)


def open_tracker(
    run_folder: Path,
    settings: TrackingConfig,
    run_name: str,
    state: TrackerState | None = None,
) -> Tracker:
    """A tracker of a whole job that writes metrics.jsonl and, unless switched off, an MLflow run.

    Args:
        run_folder: Must exist.
        settings: Whether and where MLflow is used.
        run_name: Name of the MLflow run, unless the settings have one.
        state: From `Tracker.state()` in the checkpoint of the job that is resumed.

    Raises:
        TrackingError: metrics.jsonl cannot be opened, or mlflow is wanted and not installed.
    """
    local = JsonlTracker(run_folder / "metrics.jsonl", state)
    if not settings.enabled:
        return local
    name = settings.run_name or run_name
    store = MlflowTracker(settings.experiment, name, settings.uri, state, settings.parent)
    return Tee([local, store])
