"""Ray as the cluster that trials run on: connected, asked, and left without a process of ours."""

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
from pathlib import Path
from typing import Any

from sif.bench.cluster.drive import LostError
from sif.bench.cluster.files import Files
from sif.bench.cluster.node import carry_out
from sif.bench.cluster.orders import Order, Report
from sif.bench.executor import Needs, cores
from sif.bench.state import State
from sif.errors import ConfigError, SifError
from sif.utils.optional import library

_REACHED = 5.0  # seconds in which the port of an address must answer
_CONNECTED = 60.0  # seconds in which a cluster must let this process in
_ANSWERS = 60.0  # seconds in which the actor at home must answer
_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would tell its makers
    "RAY_raylet_start_wait_time_s": "180",  # its own 30 s are too few on a busy machine
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # `Drive` hides GPUs; Ray would, with a warning
}
"""Of the environment, unless the user has set them; Ray reads them when it is imported."""
_QUIET = {"log_to_driver": False, "configure_logging": False}
_PROBE = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False)"
"""Connecting to an address at which no Ray answers blocks the process for minutes."""


def check_installed() -> None:
    """Raises ConfigError where Ray is missing; importing it would take a second."""
    if importlib.util.find_spec("ray") is None:
        _ray()


def _ray(own: bool = False) -> Any:
    """The module; `own`: for a cluster that starts here, which no stranger may send tasks to."""
    if own and "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    return library("ray", "executor ray", extra="ray")


class HomeActor:
    """Home as nodes reach it: a process on the machine of the bench, which writes the logs."""

    def __init__(self) -> None:
        self._running: set[str] = set()
        self._stopping = False

    def begin(self, name: str) -> bool:
        """Implements `Home`."""
        if not self._stopping:
            self._running.add(name)
        return not self._stopping

    def tell(self, log: Path, text: bytes) -> bool:
        """Implements `Home`."""
        if text:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as file:
                file.write(text)
        return not self._stopping

    def end(self, name: str) -> None:
        """Implements `Home`."""
        self._running.discard(name)

    def running(self) -> frozenset[str]:
        """Implements `Cluster`."""
        return frozenset(self._running)

    def stop(self) -> frozenset[str]:
        """Implements `Cluster`."""
        self._stopping = True
        return self.running()


class _RemoteHome:
    """`Home` on a node: calls of the actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def begin(self, name: str) -> bool:
        return bool(self._ask(self._actor.begin, name))

    def tell(self, log: Path, text: bytes) -> bool:
        return bool(self._ask(self._actor.tell, log, text))

    def end(self, name: str) -> None:
        self._ask(self._actor.end, name)

    def fetch(self, data: Any) -> Files:
        import ray

        found: Files = ray.get(data)
        return found

    def _ask(self, method: Any, *arguments: Any) -> Any:
        import ray

        return ray.get(method.remote(*arguments))


def trial(order: Order, actor: Any) -> Report:
    """The task of Ray: a trial on a node."""
    return carry_out(order, _RemoteHome(actor))


class RayCluster:
    """`Cluster` by a connection to Ray."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        here = ray.get_runtime_context().get_node_id()
        strategies = library("ray.util.scheduling_strategies")
        strategy = strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        # An actor that needs nothing is asked for at a node drawn by chance, which may be one that
        # was lost a moment ago; this sliver of its own address makes Ray ask at this node.
        sliver = {f"node:{ray.util.get_node_ip_address()}": 0.001}
        actor = ray.remote(HomeActor).options(
            num_cpus=0, resources=sliver, scheduling_strategy=strategy
        )
        self._home = actor.remote()
        self._trial = ray.remote(trial)

    def put(self, data: Any) -> Any:
        """Implements `Cluster`; the reference travels inside an order, and nobody fetches it."""
        return self._ray.put(data)

    def submit(self, order: Order, needs: Needs) -> Any:
        """Implements `Cluster`."""
        memory = {} if needs.memory is None else {"memory": needs.memory}
        # Lost trials are run again by `Drive`, which tells it; Ray would do so silently.
        placed = self._trial.options(
            num_cpus=needs.cores, num_gpus=needs.gpus, **memory, name=order.name, max_retries=0,
            scheduling_strategy="SPREAD",
        )  # fmt: skip
        return placed.remote(order, self._home)

    def ended(self, tickets: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Implements `Cluster`."""
        if not tickets:
            return ()
        found: Sequence[Any] = self._ray.wait(list(tickets), num_returns=1, timeout=seconds)[0]
        return found

    def report(self, ticket: Any) -> Report:
        """Implements `Cluster`."""
        errors = self._ray.exceptions
        try:
            found: Report = self._ray.get(ticket)
        except errors.RayTaskError as error:
            reason = str(error).strip().splitlines()[-1]
            return Report(State("failed", f"on a node of the cluster: {reason}"))
        except errors.RayError as error:
            raise LostError(_first_line(error)) from None
        return found

    def running(self) -> frozenset[str]:
        """Implements `Cluster`."""
        return self._asked(self._home.running)

    def stop(self) -> frozenset[str]:
        """Implements `Cluster`."""
        return self._asked(self._home.stop)

    def _asked(self, method: Any) -> frozenset[str]:
        try:
            found: frozenset[str] = self._ray.get(method.remote(), timeout=_ANSWERS)
        except self._ray.exceptions.RayError as error:
            raise SifError(f"executor ray: lost the cluster: {_first_line(error)}") from None
        return found


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0].rstrip(". ") if text else type(error).__name__


@contextmanager
def connected(
    address: str | None, needs: Sequence[Needs], told: Callable[[str], None]
) -> Iterator[RayCluster]:
    """A cluster for the time of a block; afterwards no process of this one is left.

    Args:
        address: Of a running one; None: see `RayExecutor`.
        needs: Of the trials.
        told: Gets lines for people.

    Raises:
        ConfigError: Ray is missing, the cluster lets nobody in, or a trial has no place on this
            machine.
    """
    address = _named(address)
    ray = _ray(own=address is None)
    logging.getLogger("ray").setLevel(logging.ERROR)
    theirs = ray.is_initialized()  # somebody else's connection, which stays
    try:
        with _own_signals():
            if not theirs:
                _connect(ray, address)
        _check_place(ray, needs, address is None and not theirs, told)
        yield RayCluster(ray)
    finally:
        if not theirs:
            with _own_signals():
                ray.shutdown()


def _named(address: str | None) -> str | None:
    """The address of a running cluster; None: one is started."""
    found = address or os.environ.get("RAY_ADDRESS")
    return found if found and found != "local" else None


def _connect(ray: Any, address: str | None) -> None:
    try:
        if address is not None:
            ray.init(address=address, **_QUIET)
            return
        with _package_on_path():
            ray.init(address="local", num_cpus=cores(), include_dashboard=False, **_QUIET)
    except Exception as error:  # of many types
        if address is not None:
            raise _refused(address, _first_line(error)) from None
        raise SifError(f"executor ray: Ray does not start here: {_first_line(error)}") from None


def _refused(address: str, reason: str) -> ConfigError:
    return ConfigError(f"ray_address: expected a running Ray cluster, found {address}: {reason}")


def check_address(address: str | None) -> None:
    """Raises ConfigError unless Ray answers at an address, within about a minute.

    Args:
        address: Of a running cluster; None: see `RayExecutor`.
    """
    address = _named(address)
    if address is None:
        return
    if "://" in address:
        raise ConfigError(
            "ray_address: expected host:port or auto of a cluster that this machine belongs to, "
            f"found {address}; run the command on a node, or by `ray job submit`"
        )
    match = re.fullmatch(r"(.+):(\d{1,5})", address)
    if match is None and address != "auto":
        raise ConfigError(f"ray_address: expected host:port or auto, found {address!r}")
    if match is not None:
        try:
            socket.create_connection((match[1].strip("[]"), int(match[2])), _REACHED).close()
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error) or "no answer"
            raise _refused(address, reason) from None
    if _ray().is_initialized():
        return
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, address], capture_output=True, text=True, check=False,
            timeout=_CONNECTED, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _refused(address, f"no answer within {_CONNECTED:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise _refused(address, lines[-1] if lines else f"exit code {done.returncode}")


def _check_place(
    ray: Any, needs: Sequence[Needs], own: bool, told: Callable[[str], None]
) -> None:  # fmt: skip
    """Refuses a trial that has no place here; other clusters may still grow."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for one in dict.fromkeys((n.cores, n.gpus, n.memory or 0) for n in needs):
        if any(_holds(node, *one) for node in nodes):
            continue
        asked = f"{one[0]} core(s), {one[1]:g} GPU(s)" + (f", {one[2]} bytes" if one[2] else "")
        if own:
            found = nodes[0] if nodes else {}
            raise ConfigError(
                f"executor ray: expected {asked} for a trial, found {found.get('CPU', 0):g} "
                f"core(s), {found.get('GPU', 0):g} GPU(s), {found.get('memory', 0):.0f} bytes here"
            )
        told(f"no node has {asked} for a trial; it waits until one joins the cluster")


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
    name, root = "PYTHONPATH", str(Path(__file__).parents[3])
    before = os.environ.get(name)
    os.environ[name] = os.pathsep.join(filter(None, (root, before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
