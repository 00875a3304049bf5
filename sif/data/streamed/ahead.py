"""Reads ahead: a thread takes the next pieces from an iterator while the last one is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

_PATIENCE = 10.0  # seconds for the value that is being made in the end
Value = TypeVar("Value")
_END = object()
_WAIT = 0.1  # seconds between looks at whether anybody still listens


@contextmanager
def reading_ahead(values: Iterator[Value], depth: int = 2) -> Iterator[Iterator[Value]]:
    """The same values, at most `depth` of them taken beforehand; the thread ends with the context.

    An exception of the iterator is raised where its value would have come.
    """
    ready: queue.Queue[Any] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: Any) -> bool:
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=_WAIT)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for value in values:
                if not put((value, None)):
                    return
            put((_END, None))
        except BaseException as error:  # raised again in the other thread
            put((_END, error))

    def taken() -> Iterator[Value]:
        while True:
            value, error = ready.get()
            if error is not None:
                raise error
            if value is _END:
                return
            yield value

    thread = threading.Thread(target=work, name="sif-reading", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stopped.set()
        thread.join(_PATIENCE)  # longer only where the iterator waits for somebody else
