"""The interface of trackers, and trackers without a store."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal["FINISHED", "FAILED", "KILLED"]
TrackerState = dict[str, Any]
COMMON = (
    "entrant", "space", "method", "dataset", "protocol", "seed", "dimension", "l2",
)  # fmt: skip
"""Parameters that all runs of a job have, so that a store compares any of them."""


@dataclass(frozen=True)
class TrackedData:
    """A data set, as stores name it; its rows stay where they are.

    Attributes:
        name: For people.
        digest: Of its content, 36 characters at most.
        kind: "http", "local" or "code" (generated, or part of a library).
        source: An address, a path, or a name.
        profile: Numbers of its rows, users, items and the like.
    """

    name: str
    digest: str
    kind: Literal["http", "local", "code"]
    source: str
    profile: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Introduction:
    """Facts that the runs of a job tell from the beginning.

    Attributes:
        data: Its data set.
        common: Parameters of all runs; see `COMMON`.
        entrants: Name to further parameters of the runs of that entrant.
        commit: Of the program; None: not known.
    """

    data: TrackedData
    common: Mapping[str, Any]
    entrants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    commit: str | None = None


@dataclass(frozen=True)
class TrackedModel:
    """A model that a store keeps.

    Attributes:
        entrant: Whose metrics it has.
        write: Puts it into a new folder. Also gets the store's own record of the model. None: the
            store names the model and keeps no file of it.
        name: In the store.
        served: Whether it is the job's model, and not its entrant's.
        params: Parameters.
        metrics: Of exactly this model.
        tags: Labels.
        registered: Name in the store's registry that gets a version of it; None: none does.
    """

    entrant: str
    write: Callable[[Path, Any], None] | None = None
    name: str = "model"
    served: bool = True
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    registered: str | None = None


class Tracker:
    """The records of one job, or of one stage of it; this base class keeps nothing.

    Attributes:
        run_id: In which a store nests other runs; None: there is no such store.
    """

    run_id: str | None = None

    @property
    def page(self) -> str | None:
        """Address at which a server shows the run; None: no server is known."""
        return None

    def introduce(self, introduction: Introduction) -> None:
        """Tells the data and the parameters of this run and of all that are nested in it."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Records settings, once; nested mappings are flattened with dots."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Records the metrics of one step (an epoch, unless the stage says otherwise)."""

    def log_curve(self, part: str, history: Sequence[Mapping[str, float]]) -> None:
        """Shows a curve where the result is, too; its stage has logged every step of it.

        Args:
            part: Put before the names of its metrics.
            history: Metrics of each step, with its number as "epoch".
        """

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Labels the run, e.g. with the split hash or the genotype expression."""

    def describe(self, text: str) -> None:
        """Describes the run for people.

        Args:
            text: Markdown, in which text from outside is escaped.
        """

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keeps a file or a whole folder, under `folder` in the store."""

    def log_model(self, model: TrackedModel) -> None:
        """Keeps a model, where the store takes models."""

    def child(self, name: str, *path: str) -> Tracker:
        """The tracker of one stage; the same again by name.

        Args:
            name: Of the stage, e.g. 'search' or 'baseline-ease'.
            path: Names of nested runs, the outermost first; the last is this stage's, and others
                may share it. None: a run of the stage's name.
        """
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

    @property
    def page(self) -> str | None:
        """The first that one of them has."""
        return next((one.page for one in self.trackers if one.page is not None), None)

    introduce = _passed_on("introduce")
    log_params = _passed_on("log_params")
    log = _passed_on("log")
    log_curve = _passed_on("log_curve")
    set_tags = _passed_on("set_tags")
    describe = _passed_on("describe")
    log_artifact = _passed_on("log_artifact")
    log_model = _passed_on("log_model")
    close = _passed_on("close")

    def child(self, name: str, *path: str) -> Tracker:
        """A tee over the children of that name."""
        return Tee([tracker.child(name, *path) for tracker in self.trackers])

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
