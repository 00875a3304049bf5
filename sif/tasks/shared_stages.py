"""The stages of a job that several processes run: the first keeps them, all have their results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sif.errors import LostRankError, RankError, SifError, TrackingError
from sif.problems.base import StageStore
from sif.tasks.checkpoint import LoopCheckpointer, StageFolder, State
from sif.utils.ranks import ALONE, Ranks, on_cpu, shared_by, sharing


class SharedStages(StageStore):
    """The checkpoint folder of a job as each of its processes sees it.

    A stage that is not shared is work of the first process, alone. What it came to, an error of the
    data or of the numbers included, is told to the others, so that all go on alike.

    Args:
        ranks: The processes of the job.
        kept: The folder of the first one; None on the others.
    """

    def __init__(self, ranks: Ranks, kept: StageFolder | None) -> None:
        self._ranks, self._kept = ranks, kept
        self._results: dict[str, State] = {}  # that all have been told

    def seconds(self) -> float:
        """The time of the job so far, by the first process's clock."""
        return sharing().told(0.0 if self._kept is None else self._kept.seconds())

    def read(self, name: str) -> State | None:
        """A state by file name, or None."""
        found = None if self._kept is None else self._kept.read(name)
        if sharing() == ALONE:  # within a stage of the first process
            return found
        if name not in self._results:
            told: Any = self._ranks.told(found)
            if told is None:
                return None
            if isinstance(told, SifError):  # of a job that this one is a part of
                raise told
            self._results[name] = told
        return self._results[name]

    def begun(self, names: str) -> bool:
        """True if a stage of that name, which may have wildcards, has a file, finished or not."""
        return sharing().told(self._kept is not None and self._kept.begun(names))

    def trim(self, name: str, key: str) -> None:
        """Drops one entry of a finished stage."""
        if self._kept is not None:
            self._kept.trim(name, key)
        if (state := self.read(name)) is not None:
            self._results[name] = {**state, key: None}

    def run(self, name: str, work: Callable[[Any], State], shared: bool = False) -> State:
        """The stage's result, on all processes.

        Args:
            name: Of the stage, also its file name.
            work: Does the stage.
            shared: Whether all processes do it together; otherwise the first does.
        """
        if sharing() == ALONE and self._kept is not None:
            return self._kept.run(name, work)
        if (result := self.read(name)) is None:
            result = self._results[name] = self._outcome(name, work, shared)
        return result

    def _outcome(self, name: str, work: Callable[[Any], State], shared: bool) -> State:
        """The result of a stage; the error of the first process, if any, is raised by all."""
        kept = self._kept
        outcome: State | SifError | None = None

        def done(checkpointer: LoopCheckpointer) -> State:
            return work(_TellingCheckpointer(self._ranks if shared else ALONE, checkpointer))

        with shared_by(self._ranks if shared else ALONE):
            try:
                if kept is not None:
                    outcome = kept.run(name, done)
                elif shared:
                    work(_TellingCheckpointer(self._ranks, None))
            except (LostRankError, RankError, TrackingError):
                raise  # of this process alone, which ends
            except SifError as error:
                outcome = error
        told: State | SifError | None = self._ranks.told(on_cpu(outcome))
        if isinstance(told, SifError):
            raise told
        assert told is not None  # noqa: S101
        return told


class _TellingCheckpointer:
    """Keeps the state of a loop that several processes run: the first one's, told to all."""

    def __init__(self, ranks: Ranks, kept: LoopCheckpointer | None) -> None:
        self._ranks, self._kept = ranks, kept

    def restore(self) -> State | None:
        """The loop's last saved state, or None."""
        return self._ranks.told(None if self._kept is None else self._kept.restore())

    def offer(self, state: Callable[[], State]) -> None:
        """Saves if the last time is long enough ago; all processes make the state."""
        if self._ranks.told(self._kept is not None and self._kept.is_due):
            found, kept = state(), self._kept
            self._ranks.first(lambda: None if kept is None else kept.offer(lambda: found))
