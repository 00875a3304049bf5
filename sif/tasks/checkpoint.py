"""The stages of a job, each of which is done once, interruptions or not.

Every stage's result is one file in `checkpoint/`, written atomically when it is done; a stage with
a loop saves its state under the same name with `.partial` now and then. Each file also holds where
the trackers stood, so that a resumed job logs every step exactly once, how long the job has taken
so far, and which files were there before it. Stages draw from random streams of their own, so
skipping the finished ones changes nothing for the rest.

A damaged file is named, and its stage is done again. So are those that came after it: the trackers
go back to where they stood before.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sif.errors import CheckpointError, DamagedError
from sif.evaluation.evaluate import Evaluation
from sif.problems.base import SEARCHED, StageStore
from sif.tracking import Tracker
from sif.utils import checkpoint

State = dict[str, Any]
_log = logging.getLogger(__name__)
_SUFFIX = ".safetensors"


class LoopCheckpointer:
    """Keeps the state of a stage's loop (`sif.core.stream.Checkpointer`)."""

    def __init__(self, stages: StageFolder, name: str, seconds: float) -> None:
        self._stages, self._name, self._seconds = stages, name, seconds
        self._saved = time.monotonic()

    def restore(self) -> State | None:
        """The loop's last saved state, or None."""
        return self._stages.read(f"{self._name}.partial")

    @property
    def is_due(self) -> bool:
        """True if the last time is long enough ago."""
        return time.monotonic() - self._saved >= self._seconds

    def offer(self, state: Callable[[], State]) -> None:
        """Saves if the last time is long enough ago."""
        if self.is_due:
            self._stages.write(f"{self._name}.partial", state())
            self._saved = time.monotonic()


class StageFolder(StageStore):
    """The checkpoint folder of one job.

    Args:
        folder: `checkpoint/` of the run folder.
        seconds: Least time between two saves of a loop.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._seconds = folder, seconds
        self._tracker: Tracker | None = None
        self._start = time.perf_counter()
        self._serials: dict[str, int] = {}
        for unfinished in folder.glob(".*.part"):  # of a save in which the job was killed
            unfinished.unlink()
        saved = self._undamaged()
        self._loaded = {name: content["state"] for name, content in saved.items()}
        latest = max(saved.values(), key=lambda content: content["serial"], default={})
        self._serial: int = latest.get("serial", 0)
        self._earlier: float = latest.get("seconds", 0.0)
        self.tracker_state: State | None = latest.get("tracker")

    def _undamaged(self) -> dict[str, State]:
        """Name to content of the files that are whole and older than every damaged one."""
        saved: dict[str, State] = {}
        damaged: dict[str, DamagedError] = {}
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            name = path.name.removesuffix(_SUFFIX)
            try:
                saved[name] = checkpoint.load(path, "stage")
            except DamagedError as error:
                damaged[name] = error
        latest = max(saved.values(), key=lambda content: content["serial"], default={})
        serials: dict[str, int] = latest.get("serials", {})
        # What the latest file does not know of was written after it.
        first = min((serials.get(name, math.inf) for name in damaged), default=math.inf)
        kept = {name: content for name, content in saved.items() if content["serial"] < first}
        for reason in damaged.values():
            _log.warning("%s; its stage is done again", reason)
        later = sorted(saved.keys() - kept.keys())
        if later:
            _log.warning("%s: done again, as what came before: %s", self._folder, ", ".join(later))
        self._serials = {name: content["serial"] for name, content in kept.items()}
        return kept

    def track(self, tracker: Tracker) -> None:
        """Whose position is saved with every state."""
        self._tracker = tracker

    def seconds(self) -> float:
        """The time of the job so far: this sitting, and earlier ones up to their last save."""
        return self._earlier + time.perf_counter() - self._start

    def read(self, name: str) -> State | None:
        """A state by file name, or None."""
        return self._loaded.get(name)

    def begun(self, names: str) -> bool:
        """True if a stage of that name, which may have wildcards, has a file, finished or not."""
        ends = (_SUFFIX, f".partial{_SUFFIX}")
        return any(any(self._folder.glob(f"{names}{end}")) for end in ends)

    def write(self, name: str, state: State) -> None:
        """Saves a state."""
        if self._tracker is None:
            raise CheckpointError("stages: expected a tracker before the first save, found none")
        self._serial += 1
        self._serials[name] = self._serial
        content = {
            "state": state,
            "serial": self._serial,
            "serials": self._serials,
            "tracker": self._tracker.state(),
            "seconds": self.seconds(),
        }
        checkpoint.save(self._folder / f"{name}{_SUFFIX}", content, "stage")

    def trim(self, name: str, key: str) -> None:
        """Drops one entry of a finished stage, in memory and in its file, if it is there."""
        if self._loaded[name].get(key) is not None:
            self._loaded[name] = {**self._loaded[name], key: None}
            self.write(name, self._loaded[name])

    def run(
        self, name: str, work: Callable[[LoopCheckpointer], State], shared: bool = False
    ) -> State:  # fmt: skip
        """The stage's result: from its file if it was done, else by doing it.

        Args:
            name: Of the stage, also its file name.
            work: Does the stage; its loop, if any, saves through the checkpointer.
            shared: See `StageStore`.
        """
        result = self._loaded.get(name)
        if result is None:
            result = work(LoopCheckpointer(self, name, self._seconds))
            self.write(name, result)
            self._loaded[name] = result
        (self._folder / f"{name}.partial{_SUFFIX}").unlink(missing_ok=True)
        return result


_STAGES = ("search", f"search-{SEARCHED}")  # of interaction functions, of cells


def search_history(folder: Path) -> list[dict[str, Any]]:
    """The history of a job's own search (`sif.search.loop.SearchResult.history`).

    Args:
        folder: Run folder of a job whose search is finished.

    Returns:
        One entry per epoch, or per whatever the method counts: "seconds", "selection", "judged" and
        more.

    Raises:
        CheckpointError: There is no finished search, or its file cannot be read.
    """
    for name in _STAGES:
        path = folder / "checkpoint" / f"{name}.safetensors"
        if path.is_file():
            history: list[dict[str, Any]] = checkpoint.load(path, "stage")["state"]["history"]
            return history
    raise CheckpointError(f"{folder}: expected a run with a finished search, found none")


_TESTED = ("test-", "baseline-", "refit-")  # of networks; of baselines, fitted once or again


def evaluations_of(folder: Path) -> dict[str, Evaluation]:
    """Every model of a finished job on the test part, with values of each user.

    Args:
        folder: Run folder of the job.

    Returns:
        Evaluations by the names of the models.

    Raises:
        CheckpointError: A file of a stage cannot be read.
    """
    found = {}
    for path in sorted((folder / "checkpoint").glob(f"*{_SUFFIX}")):
        if not path.name.startswith(_TESTED) or path.name.endswith(f".partial{_SUFFIX}"):
            continue
        state = checkpoint.load(path, "stage")["state"]
        if "test" in state and "name" in state:  # no stage that fits alone
            found[str(state["name"])] = Evaluation(**state["test"])
    return found
