"""Home's part: trials are handed to a cluster, sent what they lack, and run again where lost."""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from sif.bench.cluster.files import Content, Sent, digest, packed, unpacked
from sif.bench.cluster.orders import Order, Report
from sif.bench.executor import Listener, Needs, Task
from sif.bench.state import State
from sif.utils.ray_cluster import RETRIES
from sif.utils.version import __version__

T = TypeVar("T")

_POLL = 0.2  # seconds between looks at the cluster
_TELLS = 1.0  # seconds between questions which trials run
_GRACE = 40.0  # seconds in which interrupted trials end and their files come home
_KNOWN = ("SIF_", "MLFLOW_")
"""Beginnings of variables that jobs read."""


class LostError(Exception):
    """A trial whose worker or node has died; the message says why."""


class Cluster(Protocol):
    """Where trials run."""

    def put(self, data: Any) -> Any:
        """A reference to data, which nodes fetch."""
        ...

    def submit(self, order: Order, needs: Needs) -> Any:
        """Hands over a trial; returns a ticket."""
        ...

    def ended(self, tickets: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Those that have ended, as soon as there is one or the time is over."""
        ...

    def report(self, ticket: Any) -> Report:
        """The answer to an order; raises LostError where its worker has died."""
        ...

    def running(self) -> frozenset[str]:
        """Names of the trials that have begun and not ended."""
        ...

    def stop(self) -> frozenset[str]:
        """Has trials stop, and no other begin; returns `running`."""
        ...


@dataclass
class _Flight(Generic[T]):
    """A trial that was handed over."""

    task: Task[T]
    lost: int = 0  # times
    sent: bool = False


@dataclass(frozen=True)
class Setting:
    """The place of a bench at home.

    Attributes:
        folder: Working directory.
        mark: A file, and its text, by which nodes know that they share the folder.
        environment: Variables that jobs read.
    """

    folder: Path
    mark: tuple[Path, str]
    environment: Mapping[str, str]


@contextmanager
def marked(folder: Path) -> Iterator[Setting]:
    """Marks a folder of trials for nodes that share it."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / ".home", secrets.token_hex(16)
    path.write_text(text, encoding="utf-8")
    known = {name: value for name, value in os.environ.items() if name.startswith(_KNOWN)}
    try:
        yield Setting(Path.cwd(), (path, text), known)
    finally:
        path.unlink(missing_ok=True)


class Drive(Generic[T]):
    """Runs trials on a cluster until all have ended.

    Args:
        cluster: Where they run.
        setting: The place of the bench.
        listener: Told how they go.
    """

    def __init__(self, cluster: Cluster, setting: Setting, listener: Listener[T]) -> None:
        self._cluster, self._setting, self._listener = cluster, setting, listener
        self._flying: dict[Any, _Flight[T]] = {}
        self._sent: dict[Path, Sent] = {}
        self._apart = False  # some nodes do not share the folder
        self._looked = 0.0

    def run(self, tasks: Sequence[Task[T]], most: int | None) -> None:
        """Runs all.

        Args:
            tasks: In the order in which they are handed over.
            most: At a time; None: all are handed over at once, and wait at the cluster.

        Raises:
            KeyboardInterrupt: The trials have been stopped.
        """
        left = deque(_Flight(task) for task in tasks)
        try:
            while left or self._flying:
                while left and (most is None or len(self._flying) < most):
                    self._submit(left.popleft())
                for ticket in self._cluster.ended(list(self._flying), _POLL):
                    self._land(ticket)
                self._tell()
        except BaseException:
            self._stop()
            raise

    def _submit(self, flight: _Flight[T]) -> None:
        ticket = self._cluster.submit(self._order(flight.task), flight.task.needs)
        self._flying[ticket] = flight

    def _order(self, task: Task[T]) -> Order:
        place, work = self._setting, task.work
        run = place.folder / task.run
        begun = (run / "config.yaml").is_file()
        inputs = tuple(map(Content.of, task.needs.inputs))
        sent = {path: self._sent[path] for path in task.needs.inputs if path in self._sent}
        if begun and self._apart:
            sent[run] = self._packed(run)
        hidden = {} if task.needs.gpus else {"CUDA_VISIBLE_DEVICES": ""}
        return Order(
            name=run.name, command=tuple(work.command), folder=place.folder,
            environment={**place.environment, **hidden}, version=__version__,
            cores=task.needs.cores, run=run, log=place.folder / work.log, mark=place.mark,
            begun=begun, store=task.needs.store, inputs=inputs, sent=sent,
        )  # fmt: skip

    def _land(self, ticket: Any) -> None:
        flight = self._flying.pop(ticket)
        trial = flight.task.work.trial
        try:
            report = self._cluster.report(ticket)
        except LostError as error:
            self._lost(flight, str(error))
            return
        if report.lacking:
            if flight.sent:
                told = f"a node still lacks {report.lacking[0]}, which was sent"
                self._listener.ended(trial, State("failed", told))
                return
            self._send(flight, report.lacking)
            return
        self._bring(flight.task, report)
        self._listener.ended(trial, report.state)

    def _lost(self, flight: _Flight[T], reason: str) -> None:
        flight.lost += 1
        name = flight.task.run.name
        if flight.lost > RETRIES:
            state = State("failed", f"its worker was lost {flight.lost} times: {reason}")
            self._listener.ended(flight.task.work.trial, state)
            return
        self._listener.told(f"{name}: its worker was lost ({reason}); it runs again")
        flight.task, flight.sent = flight.task.resumed(), False
        self._submit(flight)

    def _send(self, flight: _Flight[T], lacking: Sequence[Path]) -> None:
        """Puts what a node lacks into the cluster, once, and hands the trial over again."""
        self._apart = True
        run = self._setting.folder / flight.task.run
        for path in lacking:
            if path not in self._sent and path != run:
                self._sent[path] = self._packed(path)
        flight.sent = True
        self._submit(flight)

    def _packed(self, path: Path) -> Sent:
        return Sent(digest(path), self._cluster.put(packed(path)))

    def _bring(self, task: Task[T], report: Report) -> None:
        """Brings the run folder home, where the node does not share it."""
        if report.files:
            unpacked(report.files, self._setting.folder / task.run)

    def _tell(self) -> None:
        if time.monotonic() < self._looked + _TELLS or not self._flying:
            return
        self._looked = time.monotonic()
        running = self._cluster.running()
        flights = self._flying.values()
        self._listener.waiting([f.task.work.trial for f in flights if f.task.run.name in running])

    def _stop(self) -> None:
        """Stops what runs, and waits for its files; a further interruption gives up at once."""
        running = self._cluster.stop()
        left = {k: f.task for k, f in self._flying.items() if f.task.run.name in running}
        until = time.monotonic() + _GRACE
        while left and time.monotonic() < until:
            for ticket in self._cluster.ended(list(left), _POLL):
                with suppress(LostError):
                    self._bring(left[ticket], self._cluster.report(ticket))
                del left[ticket]
