"""The terminal and the log while a job runs: lines, a progress line, and tables."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from sif.errors import SifError
from sif.problems.base import Reporter
from sif.tasks.live import Clock, LiveLine, draws, print_result

_INTERVAL = 5.0  # seconds between progress lines where there is no terminal


class Console(Reporter):
    """Writes to the terminal and to log.txt.

    Args:
        log: Path of the log, to which lines are appended; None: nothing is said at all.
        quiet: Keep progress and remarks off the terminal; results still show.

    Attributes:
        terminal: Whether progress is seen by somebody, on a line that can be rewritten.
        standings: Of validation so far, for that line.
    """

    def __init__(self, log: Path | None, quiet: bool = False) -> None:
        self.terminal = draws(sys.stderr)
        self._line = LiveLine()
        self.standings = self._line.standings
        self._log: TextIO | None = None
        if log is not None:
            self._log = log.open("a", encoding="utf-8", buffering=1)
        self._quiet = quiet
        self._shown = 0.0

    def line(self, text: str) -> None:
        """A remark."""
        self._clear()
        self._write(text)
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def result(self, text: str) -> None:
        """Something the job was run for: goes to standard output, quiet or not."""
        self._clear()
        self._write(text)
        if self._log is None:
            return
        if draws(sys.stdout):
            print_result(text)
        else:
            print(text, flush=True)

    def progress(self, stage: str, done: int, total: int, text: str) -> None:
        """Progress of a stage: one line that is rewritten on a terminal, rare lines elsewhere."""
        if self._quiet:
            return
        if self.terminal:
            self._line.show(stage, done, total, text)
            return
        now = time.monotonic()
        if now - self._shown >= _INTERVAL:
            self._shown = now
            print(f"{stage} {done}/{total} {text}", file=sys.stderr, flush=True)

    def stage(self, name: str, clock: Clock) -> None:
        """A stage begins; on a terminal it is shown with the time of the job."""
        self._line.clock = clock
        if self.terminal and not self._quiet:
            self._line.show(name)

    def _clear(self) -> None:
        self._line.clear()

    def close(self) -> None:
        """Closes the log."""
        self._clear()
        if self._log is not None:
            with contextlib.suppress(OSError):  # a line that could not be written was told of
                self._log.close()

    def _write(self, text: str) -> None:
        if self._log is None:
            return
        try:
            self._log.write(text + "\n")
        except OSError as error:
            raise SifError(f"{self._log.name}: cannot be written: {error.strerror}") from None


class Remarks:
    """Lines from before there is a console, which gets them once it is there."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._console: Console | None = None

    def line(self, text: str) -> None:
        """A remark."""
        if self._console is None:
            self._kept.append(text)
        else:
            self._console.line(text)

    def pass_on(self, console: Console) -> None:
        """From now on, lines go to a console."""
        self._console = console
        for text in self._kept:
            console.line(text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned text columns; the first is left-aligned, the others right-aligned."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first = f"{cells[0]:<{widths[0]}}"
        rest = (f"{cell:>{width}}" for cell, width in zip(cells[1:], widths[1:], strict=True))
        return "  ".join([first, *rest]).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(header), rule, *map(line, rows)])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in markdown, all columns but the first to the right."""

    def line(texts: Sequence[str]) -> str:
        return f"| {' | '.join(text.replace('|', '/') for text in texts)} |"

    rule = f"|---|{'---:|' * (len(header) - 1)}"
    return "\n".join([line(header), rule, *map(line, rows)])
