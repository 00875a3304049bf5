"""Trials as processes: some at a time, each an ordinary job in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Generic, TypeVar

from sif.bench.state import State

T = TypeVar("T")

_POLL = 0.05  # seconds between looks at the processes
_GRACE = 20.0  # seconds that an interrupted trial has to end by itself
_TAIL = 4096  # bytes of a log in which the reason of a failure is looked for
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Work(Generic[T]):
    """A trial as a process.

    Attributes:
        trial: Which one.
        command: Does it.
        log: File that its output is appended to.
        folder: Working directory; None: that of this process.
        environment: Variables beside those of this process.
    """

    trial: T
    command: Sequence[str]
    log: Path
    folder: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Running(Generic[T]):
    work: Work[T]
    process: subprocess.Popen[bytes]
    offset: int  # bytes of the log that were there before
    peak_memory_mb: float | None = None  # until now


def job_command(arguments: Sequence[str | Path]) -> list[str]:
    """The command that runs a job in a process of its own."""
    return [sys.executable, "-m", "sif", "run", *map(str, arguments)]


def run_all(
    works: Sequence[Work[T]],
    workers: int,
    ended: Callable[[T, State], None],
    waiting: Callable[[Sequence[T]], None] = lambda running: None,
    inherited: Sequence[int] = (),
    threads: int | None = 1,
) -> None:
    """Runs processes, at most `workers` at a time, in the order given.

    Args:
        works: Work to run.
        workers: At least 1.
        ended: Told how each ended.
        waiting: Called now and then with the running work.
        inherited: File descriptors that the processes keep open.
        threads: Of each process; None: as many as it takes by itself.

    Raises:
        KeyboardInterrupt: Also for SIGTERM and SIGHUP; the processes have been interrupted and
            have ended.
    """
    left, running = deque(works), list[_Running[T]]()
    with terminable():
        try:
            while left or running:
                while left and len(running) < workers:
                    running.append(_start(left.popleft(), inherited, threads))
                for one in running:
                    _look_at_memory(one)
                for one in [one for one in running if one.process.poll() is not None]:
                    running.remove(one)
                    ended(one.work.trial, _end(one))
                waiting([one.work.trial for one in running])
                time.sleep(_POLL)
        except BaseException:
            _stop([one.process for one in running])
            raise


def _start(work: Work[T], inherited: Sequence[int], threads: int | None) -> _Running[T]:
    # The package that is running here, wherever it was started from.
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    few = {} if threads is None else dict.fromkeys(_THREADS, str(threads))
    whole = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environment = os.environ | work.environment | few | whole
    work.log.parent.mkdir(parents=True, exist_ok=True)
    with work.log.open("ab") as log:
        offset = log.tell()
        # A session of its own: Ctrl-C reaches the bench alone, which tells its trials in order.
        process = subprocess.Popen(
            work.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env=environment, cwd=work.folder, start_new_session=True, pass_fds=tuple(inherited),
        )  # fmt: skip
    return _Running(work, process, offset)


def _look_at_memory(one: _Running[T]) -> None:
    """Takes note of the peak since the process last reset it, where Linux tells it.

    Jobs reset it for each of their stages, so that none of its later answers is that of the whole.
    """
    with contextlib.suppress(OSError):  # the process has just ended, or another system
        status = Path(f"/proc/{one.process.pid}/status").read_text(encoding="utf-8")
        if match := re.search(r"VmHWM:\s*(\d+) kB", status):  # a process that has ended has none
            one.peak_memory_mb = max(one.peak_memory_mb or 0.0, int(match[1]) / 1024)


def _end(one: _Running[T]) -> State:
    code, peak = one.process.returncode, one.peak_memory_mb
    if code == 0:
        return State("finished", peak_memory_mb=peak)
    if code < 0:
        with contextlib.suppress(ValueError):
            return State("failed", f"ended by signal {-code} ({signal.Signals(-code).name})", peak)
    return State("failed", _last_line(one.work.log, one.offset) or f"exit code {code}", peak)


def _last_line(log: Path, offset: int) -> str:
    """The last line that a process printed, which says what went wrong."""
    text = log.read_bytes()[offset:][-_TAIL:].decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip().removeprefix("error: ") if lines else ""


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupts, waits, and kills what does not end; a further interruption kills at once."""
    try:
        for process in processes:
            process.send_signal(signal.SIGINT)
        until = time.monotonic() + _GRACE
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Schedulers and closed terminals end a job by signals, which are handled as Ctrl-C is."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    handled = []
    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        names = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
        # Not those that somebody handles, or that nohup has switched off.
        handled = [n for n in names if n is not None and signal.getsignal(n) == signal.SIG_DFL]
    for number in handled:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
