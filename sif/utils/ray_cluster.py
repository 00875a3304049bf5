"""The connection to Ray: a running cluster or one of this machine; no process of ours stays."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sif.errors import ConfigError, SifError, first_line
from sif.utils.cores import usable_cores
from sif.utils.optional import library

RETRIES = 3
"""Times that a task is run again after it was lost."""
_REACHED = 5.0  # seconds in which the port of an address must answer
_CONNECTED = 60.0  # seconds in which a cluster must let this process in
_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would tell its makers
    "RAY_raylet_start_wait_time_s": "180",  # its own 30 s are too few on a busy machine
    "RAY_worker_niceness": "0",  # its 15 would let every other process of the machine go first
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # `Drive` hides GPUs; Ray would, with a warning
}
"""Of the environment, unless the user has set them; Ray reads them when it is imported."""
_QUIET = {"log_to_driver": False, "configure_logging": False}
_PROBE = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False)"
"""Connecting to an address at which no Ray answers blocks the process for minutes."""


class Room(Protocol):
    """The room that a task needs on the node that runs it."""

    @property
    def cores(self) -> int:
        """CPU cores."""
        ...

    @property
    def gpus(self) -> float:
        """GPUs, or a share of one."""
        ...

    @property
    def memory(self) -> int | None:
        """Bytes that are reserved for it; None: nobody looks at memory."""
        ...


@dataclass(frozen=True)
class RayUser:
    """Who needs Ray, for messages.

    Attributes:
        name: Of the feature.
        setting: Where its address comes from.
    """

    name: str
    setting: str


EXECUTOR = RayUser("executor ray", "ray_address")


def check_installed(user: RayUser = EXECUTOR) -> None:
    """Raises ConfigError where Ray is missing; importing it would take a second."""
    if importlib.util.find_spec("ray") is None:
        _ray(user)


def _ray(user: RayUser, own: bool = False) -> Any:
    """The module; `own`: for a cluster that starts here, which no stranger may send tasks to."""
    if own and "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    return library("ray", user.name, extra="ray")


def reason_of(error: Exception) -> str:
    """The first line of an error of Ray, without its full stop."""
    return first_line(error).rstrip(". ")


@contextmanager
def connected(
    address: str | None, needs: Sequence[Room], told: Callable[[str], None],
    user: RayUser = EXECUTOR,
) -> Iterator[Any]:  # fmt: skip
    """The module of Ray, connected for the time of a block; then no process of ours is left.

    Args:
        address: Of a running cluster; None: the one that RAY_ADDRESS names, or a Ray of this
            machine, which ends with the block.
        needs: Of the tasks.
        told: Gets lines for people.
        user: Who asks.

    Raises:
        ConfigError: Ray is missing, the cluster lets nobody in, or a task has no place on this
            machine.
    """
    address = named_address(address)
    ray = _ray(user, own=address is None)
    logging.getLogger("ray").setLevel(logging.ERROR)
    theirs = ray.is_initialized()  # somebody else's connection, which stays
    try:
        with _own_signals():
            if not theirs:
                _connect(ray, address, user)
        _check_place(ray, needs, address is None and not theirs, told)
        yield ray
    finally:
        if not theirs:
            with _own_signals():
                ray.shutdown()


def named_address(address: str | None) -> str | None:
    """The address of a running cluster; None: one is started."""
    found = address or os.environ.get("RAY_ADDRESS")
    return found if found and found != "local" else None


def _connect(ray: Any, address: str | None, user: RayUser) -> None:
    try:
        if address is not None:
            ray.init(address=address, **_QUIET)
            return
        with _package_on_path():
            ray.init(address="local", num_cpus=usable_cores(), include_dashboard=False, **_QUIET)
    except Exception as error:  # of many types
        if address is not None:
            raise _refused(user, address, reason_of(error)) from None
        raise SifError(f"{user.name}: Ray does not start here: {reason_of(error)}") from None


def _refused(user: RayUser, address: str, reason: str) -> ConfigError:
    told = f"expected a running Ray cluster, found {address}: {reason}"
    return ConfigError(f"{user.setting}: {told}")


def check_address(address: str | None, user: RayUser = EXECUTOR) -> None:
    """Raises ConfigError unless Ray answers at an address, within about a minute.

    Args:
        address: Of a running cluster; None: see `connected`.
        user: Who asks.
    """
    address = named_address(address)
    if address is None:
        return
    if "://" in address:
        raise ConfigError(
            f"{user.setting}: expected host:port or auto of a cluster that this machine belongs "
            f"to, found {address}; run the command on a node, or by `ray job submit`"
        )
    match = re.fullmatch(r"(.+):(\d{1,5})", address)
    if match is None and address != "auto":
        raise ConfigError(f"{user.setting}: expected host:port or auto, found {address!r}")
    if match is not None:
        try:
            socket.create_connection((match[1].strip("[]"), int(match[2])), _REACHED).close()
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error) or "no answer"
            raise _refused(user, address, reason) from None
    if _ray(user).is_initialized():
        return
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, address], capture_output=True, text=True, check=False,
            timeout=_CONNECTED, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _refused(user, address, f"no answer within {_CONNECTED:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise _refused(user, address, lines[-1] if lines else f"exit code {done.returncode}")


def _check_place(
    ray: Any, needs: Sequence[Room], own: bool, told: Callable[[str], None]
) -> None:  # fmt: skip
    """Refuses a task that has no place here; other clusters may still grow."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for one in dict.fromkeys((n.cores, n.gpus, n.memory or 0) for n in needs):
        if any(_holds(node, *one) for node in nodes):
            continue
        asked = f"{one[0]} core(s), {one[1]:g} GPU(s)" + (f", {one[2]} bytes" if one[2] else "")
        if own:
            found = nodes[0] if nodes else {}
            raise ConfigError(
                f"executor ray: expected {asked} for a task, found {found.get('CPU', 0):g} "
                f"core(s), {found.get('GPU', 0):g} GPU(s), {found.get('memory', 0):.0f} bytes here"
            )
        told(f"no node has {asked} for a task; it waits until one joins the cluster")


def places(ray: Any, room: Room) -> int:
    """Tasks that the nodes of a cluster hold side by side.

    Args:
        ray: The module, connected.
        room: Of each task.
    """
    return sum(
        int(min(node["Resources"].get(name, 0.0) / need for name, need in needs.items()))
        for needs in [_resources(room)]
        for node in ray.nodes()
        if node["Alive"]
    )


def _resources(room: Room) -> dict[str, float]:
    """The resources of a task, by the names that Ray has for it."""
    needs = {"CPU": float(room.cores), "GPU": room.gpus, "memory": float(room.memory or 0)}
    return {name: need for name, need in needs.items() if need}


def _holds(node: Mapping[str, float], cores: int, gpus: float, memory: int) -> bool:
    return (
        node.get("CPU", 0) >= cores and node.get("GPU", 0) >= gpus
        and node.get("memory", 0) >= memory
    )  # fmt: skip


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray puts its own handlers of signals in the place of ours, which come back."""
    kept = {}
    for name in ("SIGINT", "SIGTERM"):
        number = getattr(signal, name)
        kept[number] = signal.getsignal(number)
    try:
        yield
    finally:
        for number, handler in kept.items():
            with suppress(ValueError, TypeError):  # not the main thread, or none of Python's
                signal.signal(number, handler)


@contextmanager
def _package_on_path() -> Iterator[None]:
    """Workers of a cluster that starts here import this package, wherever it lies."""
    name, root = "PYTHONPATH", str(Path(__file__).parents[2])
    before = os.environ.get(name)
    os.environ[name] = os.pathsep.join(filter(None, (root, before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
