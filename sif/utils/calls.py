"""Independent calls of a job: made here, one after the other, or elsewhere, side by side.

A job starts calls that do not wait for each other, and asks for their results in an order of its
own. Here, a call is made when its result is asked for, so that the job does one thing at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch

Value = TypeVar("Value")
Made_co = TypeVar("Made_co", covariant=True)

CPU = torch.device("cpu")


class Call(Protocol[Made_co]):
    """A call that was started."""

    def result(self) -> Made_co:
        """The value of the function; its error is raised here."""
        ...

    def cancel(self) -> None:
        """Ends it: nobody will ask for its result."""
        ...


class Calls(Protocol):
    """Makes calls, wherever that is."""

    def put(self, value: Any) -> Any:
        """A value that several calls take: sent once, whatever their number.

        Returns:
            What stands for it among the arguments of `start`.
        """
        ...

    def places(self, device: torch.device) -> int:
        """Calls on a device that run side by side; 1: only in the order of their results."""
        ...

    def start(
        self, name: str, device: torch.device, function: Callable[..., Value], /,
        *arguments: Any, **further: Any,
    ) -> Call[Value]:  # fmt: skip
        """Starts a call, which must not depend on anything but its arguments.

        Args:
            name: For people, such as "baseline ease".
            device: That the function computes on.
            function: Of a module; it, its arguments and its result may travel.
            arguments: Of the function, or what `put` returned for them.
            further: The same by keyword.
        """
        ...


@runtime_checkable
class CallExecutor(Protocol):
    """Where the independent calls of a job are made."""

    def check(self) -> None:
        """Refuses to begin where nothing could run; called before anything is read or written.

        Raises:
            ConfigError: One line.
        """
        ...

    def calls(
        self, threads: int, device: torch.device, told: Callable[[str], None]
    ) -> AbstractContextManager[Calls]:
        """The calls of a job; none is left at work after the block.

        Args:
            threads: Of each call.
            device: Of the job.
            told: Gets lines for people.

        Raises:
            SifError: Nothing can run, in one line.
        """
        ...


class _Later(Call[Made_co]):
    """A call of this process, made once its result is asked for."""

    def __init__(self, function: Callable[[], Made_co]) -> None:
        self._function = function

    def result(self) -> Made_co:
        return self._function()

    def cancel(self) -> None:
        pass  # it has not begun


class CallsHere(Calls):
    """Calls of this process, one after the other."""

    def put(self, value: Any) -> Any:
        """The value itself."""
        return value

    def places(self, device: torch.device) -> int:
        """1: one after the other."""
        return 1

    def start(
        self, name: str, device: torch.device, function: Callable[..., Value], /,
        *arguments: Any, **further: Any,
    ) -> Call[Value]:  # fmt: skip
        """A call that `Call.result` makes, see `Calls`."""
        return _Later(lambda: function(*arguments, **further))


HERE = CallsHere()
