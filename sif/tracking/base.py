"""What loops log through, and the trackers without a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

Status = Literal["FINISHED", "FAILED", "KILLED"]
TrackerState = dict[str, Any]


class Tracker:
    """Where one job, or one stage of it, reports to; this base class keeps nothing."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Records settings, once; nested mappings are flattened with dots."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Records the metrics of one step (an epoch, unless the stage says otherwise)."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Labels the run, e.g. with the split hash or the genotype expression."""

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keeps a file or a whole folder, under `folder` in the store."""

    def log_model(
        self, write: Callable[[Path], None], folder: str, registered: str | None = None
    ) -> None:
        """Keeps a model that the store can serve, where it takes models.

        Args:
            write: Puts the model into a new folder.
            folder: In the store.
            registered: Name in the store's registry that gets a version of it; None: none does.
        """

    def child(self, name: str) -> Tracker:
        """The tracker of one stage, e.g. 'search' or 'baseline-ease'; the same again by name."""
        return self

    def state(self) -> TrackerState:
        """What `open_tracker` needs to go on from here after a restart; plain values."""
        return {}

    def close(self, status: Status = "FINISHED") -> None:
        """Writes what is pending and ends this run and every open child."""


class NullTracker(Tracker):
    """Keeps nothing."""


class Tee(Tracker):
    """Passes everything on to several trackers, in order."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Passes the settings on."""
        for tracker in self._trackers:
            tracker.log_params(params)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Passes the metrics on."""
        for tracker in self._trackers:
            tracker.log(metrics, step)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Passes the tags on."""
        for tracker in self._trackers:
            tracker.set_tags(tags)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Passes the artifact on."""
        for tracker in self._trackers:
            tracker.log_artifact(path, folder)

    def log_model(
        self, write: Callable[[Path], None], folder: str, registered: str | None = None
    ) -> None:
        """Passes the model on."""
        for tracker in self._trackers:
            tracker.log_model(write, folder, registered)

    def child(self, name: str) -> Tracker:
        """A tee over the children of that name."""
        return Tee([tracker.child(name) for tracker in self._trackers])

    def state(self) -> TrackerState:
        """The states of all, merged; each tracker uses keys of its own."""
        return {key: value for t in self._trackers for key, value in t.state().items()}

    def close(self, status: Status = "FINISHED") -> None:
        """Closes all."""
        for tracker in self._trackers:
            tracker.close(status)


@contextmanager
def closed_with_status(tracker: Tracker) -> Iterator[None]:
    """Closes a tracker at the end of the block, and says how the block ended."""
    status: Status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.close(status)
