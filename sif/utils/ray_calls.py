"""The independent calls of a job as tasks of Ray, on this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch

from sif.errors import SifError
from sif.utils.calls import HERE, Call, Calls, Made_co, Value
from sif.utils.device import deterministic, torch_threads
from sif.utils.ray_cluster import RETRIES, connected, places, reason_of
from sif.utils.version import __version__

_POLL = 0.5  # seconds between looks at the calls that are waited for


@dataclass(frozen=True)
class CallRoom:
    """The room of a call, see `sif.utils.ray_cluster.Room`."""

    cores: int
    gpus: float
    memory: int | None


@contextmanager
def ray_calls(
    address: str | None, room: CallRoom, told: Callable[[str], None]
) -> Iterator[Calls]:  # fmt: skip
    """Calls as tasks of Ray for the time of a block, after which none is left at work.

    Args:
        address: Of a running cluster; None: see `connected`.
        room: Of each call; those that compute on a CPU get no GPU of it.
        told: Gets lines for people.

    Raises:
        ConfigError: See `connected`.
    """
    with connected(address, [room], told) as ray:
        calls = RayCalls(ray, room, told)
        try:
            yield calls
        finally:
            calls.stop()


class RayCalls(Calls):
    """`Calls` by a connection to Ray. In a task its copy makes calls there.

    Args:
        ray: The module, connected.
        room: Of each call.
        told: Gets lines for people.
    """

    def __init__(self, ray: Any, room: CallRoom, told: Callable[[str], None]) -> None:
        self._ray, self._room, self._told = ray, room, told
        self._task = ray.remote(made)
        self._flying: dict[Any, _RayCall[Any]] = {}

    def __reduce__(self) -> Any:
        return _here, ()

    def put(self, value: Any) -> Any:
        """Puts them into the object store, see `Calls`."""
        return self._ray.put(value)

    def places(self, device: torch.device) -> int:
        """The number of tasks that nodes have room for at the moment, see `Calls`."""
        return places(self._ray, self._of(device))

    def _of(self, device: torch.device) -> CallRoom:
        """The room of a call on a device."""
        return self._room if device.type == "cuda" else replace(self._room, gpus=0.0)

    def start(
        self, name: str, device: torch.device, function: Callable[..., Value], /,
        *arguments: Any, **further: Any,
    ) -> Call[Value]:  # fmt: skip
        """A task that begins as soon as a node has room, see `Calls`."""
        work = (__version__, self._room.cores, function, *arguments)
        call = _RayCall[Value](self, name, self._of(device), work, further)
        self._submit(call)
        return call

    def _submit(self, call: _RayCall[Any]) -> None:
        room = call.room
        memory = {} if room.memory is None else {"memory": room.memory}
        # Lost calls are run again here, where it is told; Ray would do so silently.
        placed = self._task.options(
            num_cpus=room.cores, num_gpus=room.gpus, **memory, name=call.name, max_retries=0,
            scheduling_strategy="SPREAD",
        )  # fmt: skip
        self._flying[placed.remote(*call.arguments, **call.further)] = call

    def wait(self) -> None:
        """Takes in what has ended, and runs again what was lost; returns soon if nothing has."""
        flying = list(self._flying)
        try:
            ended = self._ray.wait(flying, num_returns=1, timeout=_POLL)[0]
        except self._ray.exceptions.RayError as error:
            raise SifError(f"executor ray: lost the cluster: {reason_of(error)}") from None
        for ticket in ended:
            self._land(self._flying.pop(ticket), ticket)

    def _land(self, call: _RayCall[Any], ticket: Any) -> None:
        errors = self._ray.exceptions
        try:
            call.outcome = self._ray.get(ticket)
        except errors.RayTaskError as error:  # of a defect, or of an unreadable argument
            call.outcome = Outcome(error=error)
        except errors.RayError as error:
            call.lost += 1
            if call.lost > RETRIES:
                told = f"{call.name}: its worker was lost {call.lost} times: {reason_of(error)}"
                call.outcome = Outcome(error=SifError(f"executor ray: {told}"))
                return
            told = f"{call.name}: its worker was lost ({reason_of(error)}); it runs again"
            self._told(told)
            self._submit(call)

    def cancel(self, call: _RayCall[Any]) -> None:
        """Ends a call that has not ended."""
        for ticket in [ticket for ticket, one in self._flying.items() if one is call]:
            del self._flying[ticket]
            with suppress(Exception):  # the connection may be what was lost
                self._ray.cancel(ticket, force=True)

    def stop(self) -> None:
        """Ends all calls that have not ended."""
        for call in list(self._flying.values()):
            self.cancel(call)


@dataclass
class Outcome:
    """The end of a call: its value, or the error that it raised."""

    value: Any = None
    error: Exception | None = None


class _RayCall(Call[Made_co]):
    """A call that was handed to Ray."""

    def __init__(
        self, calls: RayCalls, name: str, room: CallRoom, arguments: tuple[Any, ...],
        further: dict[str, Any],
    ) -> None:  # fmt: skip
        self._calls, self.name, self.room = calls, name, room
        self.arguments, self.further = arguments, further
        self.lost = 0  # times
        self.outcome: Outcome | None = None

    def result(self) -> Made_co:
        while self.outcome is None:
            self._calls.wait()
        if self.outcome.error is not None:
            raise self.outcome.error
        value: Made_co = self.outcome.value
        return value

    def cancel(self) -> None:
        self._calls.cancel(self)


def made(
    version: str, threads: int, function: Callable[..., Any], /, *arguments: Any, **further: Any
) -> Outcome:
    """The task of Ray: a call on a node, as the job itself would make it.

    Args:
        version: Of sif at home.
        threads: Of the job.
        function: To be called.
        arguments: Of the function.
        further: The same by keyword.
    """
    if version != __version__:
        told = f"a node has sif {__version__}, expected {version} as at home"
        return Outcome(error=SifError(f"executor ray: {told}"))
    try:
        with deterministic(), torch_threads(threads):
            return Outcome(function(*arguments, **further))
    except SifError as error:  # Ray would make another kind of error of it
        return Outcome(error=error)


def _here() -> Calls:
    return HERE
