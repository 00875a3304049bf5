"""The work of a node on an order: the trial as a process, its output and files on their way home.

Workers import this module; it needs nothing but the standard library.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from os import getpid
from pathlib import Path
from socket import gethostname

from sif.bench.cluster import tied
from sif.bench.cluster.files import NodeError, in_place, packed, unpacked
from sif.bench.cluster.orders import Home, Order, Report
from sif.bench.processes import Work, run_all
from sif.bench.state import State
from sif.utils.version import __version__

_TELLS = 1.0  # seconds between two messages home


def carry_out(order: Order, home: Home) -> Report:
    """Runs a trial, unless this node lacks files for it.

    Args:
        order: The trial.
        home: Gets the output while the trial runs, and may stop it.

    Returns:
        How it ended: "pending" if it was stopped. Or what must be sent first.
    """
    if order.version != __version__:
        return _failed(f"expected sif {order.version}, as at home, found {__version__}")
    if not home.begin(order.name):
        return Report()
    try:
        lacking = tuple(_lacking(order, home))
        return Report(lacking=lacking) if lacking else _run(order, home)
    except (NodeError, OSError) as error:
        return _failed(str(error))
    finally:
        home.end(order.name)


def _failed(reason: str) -> Report:
    return Report(State("failed", f"node {gethostname()}: {reason}"))


def _is_shared(order: Order) -> bool:
    """True if the folder of the bench is the one at home."""
    path, text = order.mark
    with suppress(OSError):
        return path.read_text(encoding="utf-8") == text
    return False


def _lacking(order: Order, home: Home) -> Iterator[Path]:
    """The content that must be sent; puts in place what was sent."""
    for content in order.inputs:
        if not in_place(content, order.sent.get(content.path), home.fetch):
            yield content.path
    if order.begun and order.run not in order.sent and not _is_shared(order):
        yield order.run


def _run(order: Order, home: Home) -> Report:
    if _is_shared(order):
        return Report(_process(order, home))
    if order.store:
        raise NodeError(
            f"tracking.uri: expected a server, since this node shares no folder with home, found "
            f"{order.store}"
        )
    with _own_folder(order, home):
        state = _process(order, home)
        return Report(state, files=packed(order.run))


@contextmanager
def _own_folder(order: Order, home: Home) -> Iterator[None]:
    """The run folder of a node that does not share it: as at home; removed afterwards."""
    order.folder.mkdir(parents=True, exist_ok=True)
    order.run.parent.mkdir(parents=True, exist_ok=True)
    ours = order.run.with_name(f".{order.run.name}.node")  # stays where a worker is lost
    if order.run.exists() and not ours.exists():
        raise NodeError(f"{order.run}: expected nothing, found a folder of this node's own")
    ours.touch()
    shutil.rmtree(order.run, ignore_errors=True)
    try:
        if order.begun:
            unpacked(home.fetch(order.sent[order.run].data), order.run)
        yield
    finally:
        shutil.rmtree(order.run, ignore_errors=True)
        ours.unlink(missing_ok=True)


def _process(order: Order, home: Home) -> State:
    """The trial in a process of its own, which ends with this one."""
    states = [State("pending")]
    command = [sys.executable, *order.command[1:]]
    tie = [sys.executable, "-S", str(Path(tied.__file__)), str(getpid())]
    with tempfile.TemporaryDirectory(prefix="sif-") as scratch:
        log = _Log(order.log, Path(scratch) / "log", home)
        # It holds its cores already, so it waits for no others to read its data.
        environment = {**order.environment, "SIF_READER": "local"}
        work = Work(order.name, [*tie, *command], log.path, order.folder, environment)

        def ended(_: str, state: State) -> None:
            states.append(state)

        with suppress(KeyboardInterrupt):  # it has been stopped by then
            run_all([work], 1, ended, log.waiting, threads=order.cores)
        log.send()
    return states[-1]


class _Log:
    """The output of a process, which is sent home piece by piece."""

    def __init__(self, target: Path, path: Path, home: Home) -> None:
        self.path = path
        self._target, self._home = target, home
        self._sent, self._next = 0, 0.0

    def waiting(self, _: Sequence[str]) -> None:
        """Sends what is new, now and then; raises KeyboardInterrupt where home stops the trial."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _TELLS
        if not self.send():
            raise KeyboardInterrupt

    def send(self) -> bool:
        """Sends what is new; False: the trial must stop."""
        with self.path.open("rb") as file:
            file.seek(self._sent)
            text = file.read()
        self._sent += len(text)
        return self._home.tell(self._target, text)
