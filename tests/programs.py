"""Programs in processes of their own, forked from a server that has imported everything.

A Python that starts afresh takes four to six seconds of a core to import torch and the package. A
fork has both at once, and is a process like any other: it can be killed and has its own output.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, TextIO

import pytest

IMPORTED = [
    "pytest", "sif.cli.main", "sif.tasks", "sif.bench", "sif.problems", "matplotlib.figure",
    "torch._dynamo",
]  # fmt: skip
"""Where the package is imported too, programs cannot tell how it is imported."""

UNDRAWN = """
import sys
from sif.cli.start import start
from sif.tasks import ending
ending.save_and_draw = lambda *_: []
ending.Ending._write_page = lambda *_: None
sys.exit(start())
"""
"""The command line; its jobs draw nothing, which takes longer than all the rest of a tiny job."""


class Program:
    """A running program, with the names of `subprocess.Popen`.

    Attributes:
        stdout: What it prints.
        stderr: Its errors.
    """

    def __init__(
        self, words: Sequence[str | Path], folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Starts it.

        Args:
            words: What stands behind `python`: a file, `-m` and a module, or `-c` and code.
            folder: Where it works; None: here.
            environment: All of its variables; None: those of this process.
        """
        if "forkserver" not in multiprocessing.get_all_start_methods():
            pytest.skip("needs processes that can be forked")
        context = multiprocessing.get_context("forkserver")
        start_server()
        (out, outer), (err, error) = context.Pipe(duplex=False), context.Pipe(duplex=False)
        self._process = context.Process(
            target=become,
            args=(
                [str(word) for word in words], str(folder or Path.cwd()),
                dict(os.environ if environment is None else environment), outer, error,
            ),
            daemon=True,  # ends with the tests
        )  # fmt: skip
        self._process.start()
        self.pid = int(self._process.pid or 0)
        self.stdout, self.stderr = (os.fdopen(os.dup(one.fileno())) for one in (out, err))
        for one in (out, outer, err, error):
            one.close()

    @property
    def returncode(self) -> int | None:
        """The exit code, or less the signal that ended it; None: it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(["python"], timeout or 0.0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it printed and its errors, once it has ended."""
        found: dict[TextIO, str] = {}
        streams = (self.stdout, self.stderr)
        readers = [
            threading.Thread(target=lambda one=one: found.update({one: one.read()}), daemon=True)
            for one in streams
        ]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
        for stream in streams:
            stream.close()
        return found[self.stdout], found[self.stderr]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start_server() -> None:
    """Starts the server that forks, unless there is one; this process has one for all tests."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
            patch.delenv(name)  # who is killed reports nothing
        forkserver.ensure_running()


def become(words: list[str], folder: str, environment: dict[str, str], out: Any, err: Any) -> None:
    """Makes this process the program."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    # Ctrl-C reaches it also where a shell has started the tests in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, pipe in ((1, out), (2, err)):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2)
    )
    kind, *rest = words
    sys.path.insert(0, folder if kind in ("-m", "-c") else str(Path(kind).resolve().parent))
    if kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = words
        runpy.run_path(kind, run_name="__main__")
