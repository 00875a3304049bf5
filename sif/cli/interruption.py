"""Ctrl-C: one line and exit code 130, whatever the process is doing."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

EXIT_INTERRUPTED = 130

_IMPORTS = "<frozen importlib._bootstrap>"
_REMEDIES: list[Callable[[], str]] = []
"""Ways to go on, the innermost last."""


@contextlib.contextmanager
def going_on(how: Callable[[], str]) -> Iterator[None]:
    """A block whose interruption says how to go on.

    Args:
        how: Gives the words once it is interrupted; empty: there is nothing to go on with.

    Raises:
        KeyboardInterrupt: With the words.
    """
    _REMEDIES.append(how)
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(*filter(None, [how()])) from None
    finally:
        _REMEDIES.pop()


class Interruption:
    """The handler of Ctrl-C in this process, unless it ignores Ctrl-C, as under nohup."""

    def __init__(self) -> None:
        self.raised = False
        self._process = os.getpid()
        self._handles = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._handles:
            signal.signal(signal.SIGINT, self._interrupt)
            sys.unraisablehook = self._unraisable

    def close(self) -> None:
        """From now on Ctrl-C ends the process at once: nothing is left to be tidied up."""
        if self._handles:
            signal.signal(signal.SIGINT, lambda *_: self._leave())

    def tell(self) -> int:
        """Prints the line; returns the exit code."""
        line = ": ".join(filter(None, ["interrupted", *(how() for how in _REMEDIES[-1:])]))
        os.write(2, f"{line}\n".encode())
        return EXIT_INTERRUPTED

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Raises KeyboardInterrupt; in an import, where libraries swallow or print it, leaves."""
        if _is_importing(frame):
            self._leave()
        self.raised = True
        raise KeyboardInterrupt

    def _unraisable(self, found: sys.UnraisableHookArgs) -> None:
        """An interruption in a destructor, which Python would print and forget, leaves as well."""
        if issubclass(found.exc_type, KeyboardInterrupt):
            self.raised = False
            self._leave()
        sys.__unraisablehook__(found)

    def _leave(self) -> None:
        """Ends the process; files are whole at any moment, and locks end with it."""
        if not self.raised and os.getpid() == self._process:  # workers leave the line to it
            self.tell()
        os._exit(EXIT_INTERRUPTED)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTS:
            return True
        frame = frame.f_back
    return False
