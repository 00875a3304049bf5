"""Fixtures of benches and panels."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest

from sif.bench import processes
from sif.bench.processes import Work
from sif.bench.state import State
from sif.cli import main as cli

RunAll = Callable[..., None]


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Signals end this process also where a shell has started it in the background."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def run_here() -> RunAll:
    """As `run_all`, in this process: a process for each trial takes seconds to import torch."""

    def run(works: Sequence[Work[Any]], *given: Any) -> None:
        ended: Callable[[Any, State], None] = given[1]
        for one in works:
            program, *words = one.command[2:]
            assert program == "sif"
            one.log.parent.mkdir(parents=True, exist_ok=True)
            with one.log.open("a") as log, redirect_stdout(log), redirect_stderr(log):
                code = cli.main(words)
            reason = processes._last_line(one.log, 0)
            ended(one.trial, State("failed", reason) if code else State("finished"))

    return run
