"""The look of a job on a terminal, drawn by rich: one live line, and styled results.

A console feeds it. Where there is no terminal, or a dumb one, or NO_COLOR is set, or rich is
missing, nothing is drawn and lines stay plain.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.text import Text

_REFRESHES = 4  # a second
_BAR = 16  # characters


def draws(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """True where lines of a stream may be styled and rewritten.

    Args:
        stream: Such as standard error.
        environ: Variables of the environment.
    """
    plain = environ.get("NO_COLOR") or environ.get("TERM") in ("dumb", "unknown")
    return stream.isatty() and not plain and importlib.util.find_spec("rich") is not None


@dataclass(frozen=True)
class Clock:
    """The time of a job.

    Attributes:
        elapsed: Tells the seconds since its beginning.
        budget: Seconds that it may take; None: no limit.
    """

    elapsed: Callable[[], float]
    budget: float | None = None

    def __str__(self) -> str:
        used = self.elapsed()
        if self.budget is None:
            return f"{used:.0f} s"
        return f"{used:.0f} s of {self.budget:.0f} s, {max(self.budget - used, 0):.0f} s left"


class Standings:
    """The best validation so far of ours, and of all others."""

    def __init__(self) -> None:
        self._best: dict[bool, tuple[float, str]] = {}

    def add(self, name: str, merit: float, text: str, ours: bool) -> None:
        """Adds a model.

        Args:
            name: Of the model.
            merit: Of its validation, the higher the better.
            text: The same, for people.
            ours: Whether it is the searched one.
        """
        told = text if ours else f"{name} {text}"
        if ours not in self._best or merit > self._best[ours][0]:
            self._best[ours] = merit, told

    def __str__(self) -> str:
        told = {ours: text for ours, (_, text) in self._best.items()}
        if not told:
            return ""
        if True not in told:
            return f"valid: {told[False]}"
        return f"valid: searched {told[True]}" + (f", {told[False]}" if False in told else "")


class LiveLine:
    """One line at the bottom of the terminal: stage, standings, time, and what the stage tells.

    It is drawn again four times a second by a thread, so that seconds pass while a stage is silent.
    """

    def __init__(self) -> None:
        self.standings, self.clock = Standings(), Clock(lambda: 0.0)
        self.stage, self.done, self.total, self.text = "", 0, 0, ""
        self._live: Any = None

    def show(self, stage: str, done: int = 0, total: int = 0, text: str = "") -> None:
        """Shows a stage; one without a total has no bar."""
        self.stage, self.done, self.total, self.text = stage, done, total, text
        if self._live is None:
            self._live = _live(self.drawn)
            self._live.start()

    def clear(self) -> None:
        """Gives the line back to the terminal."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def drawn(self) -> Text:
        """The line as it is now."""
        from rich.text import Text

        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(self.stage, "bold cyan")
        if self.total:
            filled = round(_BAR * min(self.done / self.total, 1.0))
            line.append(" " + "━" * filled, "cyan").append("━" * (_BAR - filled), "dim")
            line.append(f" {self.done}/{self.total}")
        parts = {str(self.standings): "green", str(self.clock): "", self.text: "dim"}
        for part, style in parts.items():
            if part:
                line.append("  ").append(part, style)
        return line


def _live(drawn: Callable[[], Text]) -> Any:
    """A line that is drawn again and again."""
    from rich.console import Console
    from rich.live import Live

    class Screen(Console):
        """Leaves the cursor as it is: Ctrl-C may end the process at any moment."""

        def show_cursor(self, show: bool = True) -> bool:
            return False

    return Live(
        console=Screen(file=sys.stderr, force_terminal=True, highlight=False),
        get_renderable=drawn,
        refresh_per_second=_REFRESHES,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def print_result(text: str) -> None:
    """Prints a result on standard output: rules faint, the verdict bold, nothing changed."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, force_terminal=True, highlight=False)
    for line in text.split("\n"):
        styled = Text(line)
        if line and not line.strip("- "):
            styled.stylize("dim")
        elif line.startswith(("verdict: ", "search: ")):
            styled.stylize("bold", 0, line.index(":"))
        elif " * " in line or " + " in line or line.startswith("searched"):
            styled.stylize("bold", 0, len(line.split("  ")[0]))
        console.print(styled, soft_wrap=True)
