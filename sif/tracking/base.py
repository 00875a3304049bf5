"""The interface of trackers, and trackers without a store."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

Status = Literal["FINISHED", "FAILED", "KILLED"]
TrackerState = dict[str, Any]


class Tracker:
    """The records of one job, or of one stage of it; this base class keeps nothing.

    Attributes:
        run_id: In which a store nests other runs; None: there is no such store.
    """

    run_id: str | None = None

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
        """Plain values from which `open_tracker` continues after a restart."""
        return {}

    def close(self, status: Status = "FINISHED") -> None:
        """Writes what is pending and ends this run and every open child."""


class NullTracker(Tracker):
    """Stores nothing."""


def _passed_on(name: str) -> Callable[..., None]:
    """A method of a tee that calls the same method of every tracker."""

    def call(tee: Tee, *arguments: Any, **keywords: Any) -> None:
        for tracker in tee.trackers:
            getattr(tracker, name)(*arguments, **keywords)

    return functools.update_wrapper(call, getattr(Tracker, name))


class Tee(Tracker):
    """Passes everything on to several trackers, in order."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = tuple(trackers)
        self.run_id = next((one.run_id for one in trackers if one.run_id is not None), None)

    log_params = _passed_on("log_params")
    log = _passed_on("log")
    set_tags = _passed_on("set_tags")
    log_artifact = _passed_on("log_artifact")
    log_model = _passed_on("log_model")
    close = _passed_on("close")

    def child(self, name: str) -> Tracker:
        """A tee over the children of that name."""
        return Tee([tracker.child(name) for tracker in self.trackers])

    def state(self) -> TrackerState:
        """The states of all, merged; each tracker uses keys of its own."""
        return {key: value for t in self.trackers for key, value in t.state().items()}


@contextmanager
def closed_with_status(tracker: Tracker) -> Iterator[None]:
    """Closes a tracker at the end of the block, with the status of the block."""
    status: Status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.close(status)
