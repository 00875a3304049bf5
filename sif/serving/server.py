"""A server process: its socket, its threads, its signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Any

from sif.errors import ConfigError
from sif.utils.compact_rows import Precision
from sif.utils.optional import library

_DRAIN = 0.25
"""Seconds in which clients that ask again are told to leave, before the server does."""
_IDLE = 75
"""Seconds after which an idle connection is closed: later than proxies do, which keep theirs."""

_logger = logging.getLogger("sif.serving")


@dataclass(frozen=True)
class Options:
    """How a server serves.

    Attributes:
        host: Address to listen on.
        port: Port; 0: a free one.
        unknown: Answer to an unknown user: "error", or "popular" items.
        journal: File of the interactions that it takes in; None: they end with it.
        watch: Seconds between two looks for another model; 0: none.
        allow_reload: Whether clients of other machines may have the model loaded again.
        most_bytes: Of a body.
        most_waiting: Requests that wait for the model; more get 503.
        together: Questions that are answered together, at most.
        grace: Seconds in which it ends after a signal.
        threads: CPU threads of an answer.
        precision: Of the items in memory; None: as in the file.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    unknown: str = "error"
    journal: Path | None = None
    watch: float = 1.0
    allow_reload: bool = False
    most_bytes: int = 2**21
    most_waiting: int = 1024
    together: int = 256
    grace: float = 10.0
    threads: int = 1
    precision: Precision | None = None


def serve(folder: Path, options: Options, tell: Callable[[str], None]) -> None:
    """Answers requests until a signal ends it.

    Args:
        folder: Of a run, of a saved model, or of versions.
        options: How.
        tell: Gets one line once it answers.

    Raises:
        ConfigError: A library is missing, or the address cannot be had.
        SifError: The model or the journal cannot be used.
    """
    for module, package in (("fastapi", "fastapi"), ("uvicorn", "uvicorn")):
        library(module, where="serve", package=package, extra="serve")
    from sif.serving.metrics import Metrics

    metrics = Metrics()
    stop = _Stop()
    with contextlib.closing(_bound(options.host, options.port)) as listener, stop.heard():
        _serve(folder, options, tell, metrics, listener, stop)


def _serve(
    folder: Path, options: Options, tell: Callable[[str], None], metrics: Any,
    listener: socket.socket, stop: _Stop,
) -> None:  # fmt: skip
    import sys

    import torch

    from sif.serving.batching import Worker
    from sif.serving.changes import Changes
    from sif.serving.endpoints import Endpoints
    from sif.serving.journal import Journal

    torch.set_num_threads(options.threads)
    sys.setswitchinterval(0.001)  # of three threads none keeps the others waiting for long
    journal = None if options.journal is None else Journal(options.journal)
    changes = Changes(
        folder, options.unknown, metrics, journal, options.watch, precision=options.precision
    )
    worker = Worker(lambda: changes.answering, options.most_waiting, options.together, metrics)
    front = Endpoints(changes, worker, metrics, options.allow_reload).front(options.most_bytes)
    stop.reload = changes.reload_soon
    address = _address(listener, options.host)
    told = f"serving {changes.answering.model.expression} at {address} ({address}/docs)"
    worker.start()
    changes.start()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_until_stopped(front, options, listener, stop, lambda: tell(told)))
    finally:
        changes.stop()
        worker.stop()


async def _until_stopped(
    front: Any, options: Options, listener: socket.socket, stop: _Stop, started: Callable[[], None]
) -> None:
    """Serves until a signal, then answers what was accepted."""
    import uvicorn

    from sif.serving.protocol import http_protocol

    class Server(uvicorn.Server):
        """Leaves signals to `_Stop`, and tells when it listens."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started()

    config = uvicorn.Config(
        front, http=http_protocol(), ws="none", lifespan="off", log_config=None, log_level="error",
        access_log=False, proxy_headers=False, server_header=False, date_header=False, workers=1,
        timeout_keep_alive=_IDLE, timeout_graceful_shutdown=max(1, round(options.grace)),
    )  # fmt: skip
    server, loop = Server(config), asyncio.get_running_loop()

    def end() -> None:
        server.should_exit = True

    def begin_to_end(at_once: bool) -> None:
        front.closing = True
        for one in getattr(server, "servers", ()):  # who comes now is refused, not cut off
            one.close()
        loop.call_later(0 if at_once else _DRAIN, end)

    stop.tell = lambda at_once: loop.call_soon_threadsafe(begin_to_end, at_once)
    if stop.asked:
        return
    await server.serve(sockets=[listener])


def _loop_factory() -> Any:
    """uvloop's, where there is one; None: asyncio's."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


class _Stop:
    """The signals of a server: the first end in peace, a second one at once, SIGHUP loads again.

    Attributes:
        asked: Whether there was one.
        tell: Called with whether it is to end at once.
        reload: Called by SIGHUP.
    """

    def __init__(self) -> None:
        self.asked = False
        self.tell: Callable[[bool], object] = lambda at_once: None
        self.reload: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Listens within the block."""
        handlers: dict[int, Any] = {signal.SIGTERM: self._end, signal.SIGINT: self._end}
        if hasattr(signal, "SIGHUP"):
            handlers[signal.SIGHUP] = lambda *_: self.reload()
        before = {number: signal.signal(number, one) for number, one in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        at_once, self.asked = self.asked, True
        self.tell(at_once)


def _bound(host: str, port: int) -> socket.socket:
    """A socket at an address, which does not listen yet.

    Raises:
        ConfigError: The address cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{host}:{port}: expected a free address of this machine, found: {reason}"
        ) from None
    listener.set_inheritable(False)
    return listener


def is_loopback(host: str) -> bool:
    """True for an address that only this machine reaches."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(listener: socket.socket, host: str) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
