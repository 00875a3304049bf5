"""One sitting of a bench or a panel: trials that have not finished run, and each end is told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from sif.bench.executor import Executor, Listener, Needs, Task
from sif.bench.folder import Named, TrialsFolder
from sif.bench.inputs import inputs_of
from sif.bench.processes import Work, job_command
from sif.bench.state import State
from sif.config import CommonConfig, TrackingConfig
from sif.tasks.console import Console

T = TypeVar("T", bound=Named)
_OWN_STORES = ("", "file", "sqlite")
"""Schemes of MLflow's stores that are files of this machine."""


@dataclass(frozen=True)
class Nesting:
    """The place of trials in MLflow.

    Attributes:
        tracking: Whether there is any, and in which store.
        experiment: Of the trials and of the run in which they are nested.
        parent: That run; None: none.
    """

    tracking: TrackingConfig
    experiment: str
    parent: str | None = None

    @property
    def own_store(self) -> str:
        """The store, where it is files of this machine; empty for a server, and without a store."""
        uri = self.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI", "")
        own = self.tracking.enabled and urlsplit(uri).scheme in _OWN_STORES
        return (uri or "a store in the working directory") if own else ""

    def command(
        self, run: Path, begin: Sequence[str], sets: Sequence[str] = (), name: str | None = None
    ) -> list[str]:
        """The command that begins a trial's job, or goes on with it where it was begun.

        Args:
            run: Run folder of the trial.
            begin: Options of a job that begins.
            sets: Settings of a job that begins, "key=value".
            name: Of its run in MLflow; None: the job's own.
        """
        tracking = self.tracking
        store: list[str | Path] = [] if tracking.enabled else ["--no-tracking"]
        if tracking.enabled and tracking.uri is not None:
            store = ["--tracking-uri", tracking.uri]
        if (run / "config.yaml").is_file():
            return job_command(["--resume", run, "--quiet", *store])
        place = {"experiment": self.experiment, "parent": self.parent, "run_name": name}
        told = [f"tracking.{k}={json.dumps(v)}" for k, v in place.items() if v is not None]
        return job_command([
            *begin, "--set", *told, *sets, "--output-dir", run, "--quiet", *store,
        ])  # fmt: skip

    def needs(self, config: CommonConfig, job: Path) -> Needs:
        """The needs of a trial.

        Args:
            config: Of its job.
            job: The file that holds it.
        """
        on_gpu = config.device.startswith("cuda")
        inputs = (job.absolute(), *inputs_of(config))
        return Needs(inputs, config.threads or 1, float(on_gpu), store=self.own_store)


@dataclass(frozen=True)
class Sitting(Generic[T]):
    """Trials that run until all have ended.

    Attributes:
        place: Folder of the trials, which keeps how they end.
        trials: All of them, in the order in which they run.
        command: Begins a trial's job, or goes on with it.
        outcome: The end of a trial, on one line.
        needs: What a trial's job needs.
    """

    place: TrialsFolder
    trials: Sequence[T]
    command: Callable[[T], list[str]]
    outcome: Callable[[T, State], str]
    needs: Callable[[T], Needs] = lambda trial: Needs()

    @property
    def left(self) -> list[T]:
        """Trials that have not finished."""
        return [one for one in self.trials if self.place.state(one).status != "finished"]

    def run(
        self, console: Console, stage: str, executor: Executor, workers: int | None,
        inherited: Sequence[int], threads: int | None = 1,
    ) -> None:  # fmt: skip
        """Runs what is left.

        Args:
            console: Gets a line for each end, and the progress.
            stage: Name of the progress.
            executor: Where it runs.
            workers: Trials at a time; None: as many as the executor has place for.
            inherited: File descriptors that the processes keep open.
            threads: Of each process; None: as many as it takes by itself.

        Raises:
            KeyboardInterrupt: The trials have been stopped; a later sitting continues.
        """
        left, total = self.left, len(self.trials)
        done = total - len(left)

        def ended(trial: T, state: State) -> None:
            nonlocal done
            done += 1
            self.place.record(trial, state)
            console.line(f"{done}/{total} {trial.name}: {self._told(trial, state)}")

        def waiting(running: Sequence[T]) -> None:
            if console.terminal:
                console.progress(stage, done, total, ", ".join(trial.name for trial in running))

        tasks = [self._task(one) for one in left]
        listener = Listener(ended, waiting, console.line)
        executor.run(tasks, listener, workers, inherited, threads)

    def _task(self, trial: T) -> Task[T]:
        work = Work(trial, self.command(trial), self.place.log(trial))
        run = self.place.run(trial)
        return Task(work, run, self.needs(trial), partial(self.command, trial))

    def _told(self, trial: T, state: State) -> str:
        if state.status != "finished":
            return f"{state.status}: {state.reason}"
        return self.outcome(trial, state)
