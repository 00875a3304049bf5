"""Executors: where the trials of a bench or a panel run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from sif.bench.processes import Work, run_all
from sif.bench.state import State
from sif.utils.cores import usable_cores

T = TypeVar("T")


@dataclass(frozen=True)
class Needs:
    """The needs of a job, wherever it runs.

    Attributes:
        inputs: Files and folders that it reads.
        cores: CPU cores.
        gpus: GPUs, or a share of one.
        memory: Bytes that are reserved for it; None: nobody looks at memory.
        store: MLflow's store, if it is one of this machine alone; empty: none, or a server.
    """

    inputs: Sequence[Path] = ()
    cores: int = 1
    gpus: float = 0.0
    memory: int | None = None
    store: str = ""


@dataclass(frozen=True)
class Task(Generic[T]):
    """A trial that any executor can run.

    Attributes:
        work: The trial as a process on this machine.
        run: Its run folder.
        needs: What it needs elsewhere.
        again: The command that goes on with it after it was lost.
    """

    work: Work[T]
    run: Path
    needs: Needs
    again: Callable[[], Sequence[str]]

    def resumed(self) -> Task[T]:
        """The task that goes on where the trial was lost."""
        return replace(self, work=replace(self.work, command=self.again()))


@dataclass(frozen=True)
class Listener(Generic[T]):
    """Told about the trials while they run.

    Attributes:
        ended: Told how each ended.
        waiting: Called now and then with the trials that run.
        told: Gets lines for people.
    """

    ended: Callable[[T, State], None]
    waiting: Callable[[Sequence[T]], None] = field(default=lambda running: None)
    told: Callable[[str], None] = field(default=lambda line: None)


class Executor(ABC):
    """Runs the trials of a bench or a panel.

    Examples:
        >>> from sif.bench import Executor, LocalExecutor
        >>> isinstance(LocalExecutor(), Executor)
        True
    """

    def check(self) -> None:  # noqa: B027 (most have nothing to check)
        """Refuses to begin where nothing could run; called before anything is written.

        Raises:
            ConfigError: One line.
        """

    @abstractmethod
    def threads(self, workers: int | None) -> int | None:
        """Threads of a job that does not say how many; None: as many as it takes by itself.

        Args:
            workers: Jobs at a time; None: as many as the executor has place for.
        """

    @abstractmethod
    def run(
        self, tasks: Sequence[Task[T]], listener: Listener[T], workers: int | None,
        inherited: Sequence[int] = (), threads: int | None = 1,
    ) -> None:  # fmt: skip
        """Runs all, in the order given.

        Args:
            tasks: Trials to run.
            listener: Told how they go.
            workers: At a time; None: as many as there is place for.
            inherited: File descriptors that processes on this machine keep open.
            threads: Threads of each process; None: as many as it takes by itself.

        Raises:
            SifError: Nothing can run, in one line.
            KeyboardInterrupt: Also for SIGTERM and SIGHUP; the trials have been stopped.
        """


@dataclass(frozen=True)
class LocalExecutor(Executor):
    """Processes of this machine.

    Examples:
        >>> from sif.bench import LocalExecutor
        >>> LocalExecutor().threads(1)  # one job takes what it can get
    """

    def threads(self, workers: int | None) -> int | None:
        """None for one job at a time; several share the cores."""
        return None if workers == 1 else max(1, usable_cores() // (workers or usable_cores()))

    def run(
        self, tasks: Sequence[Task[T]], listener: Listener[T], workers: int | None,
        inherited: Sequence[int] = (), threads: int | None = 1,
    ) -> None:  # fmt: skip
        """Runs trials as processes, see `Executor.run`; by default one per core."""
        works = [task.work for task in tasks]
        run_all(
            works, workers or usable_cores(), listener.ended, listener.waiting, inherited, threads
        )
