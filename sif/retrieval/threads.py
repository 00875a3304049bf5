"""Work on many rows by threads that each take whole chunks of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch


class _Shared:
    """An iterator that several threads may advance."""

    def __init__(self, items: Iterator[slice]) -> None:
        self._items, self._lock = items, threading.Lock()

    def __iter__(self) -> Iterator[slice]:
        return self

    def __next__(self) -> slice:
        with self._lock:
            return next(self._items)


@contextlib.contextmanager
def alone(afterwards: int) -> Iterator[None]:
    """Within, torch uses no further threads for what this thread does, and keeps no gradients.

    `afterwards` is the number to go back to. That in force is a thread's own, but threads to come
    start with the last one that any has set.
    """
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(afterwards)


def in_chunks(n: int, step: int, threads: int, worker: Callable[[Iterator[slice]], None]) -> None:
    """Has the rows 0..n worked on, `step` at a time, by so many threads.

    With one, or a single chunk, that is the caller's thread. The worker is called once per thread,
    without gradients, and goes through the chunks that it is given. No worker's torch has further
    threads: those meet after every step, and where cores are shared waiting for the slowest each
    time costs more than they gain.
    """
    # Advanced by all workers: who is done takes the next chunk.
    chunks = (slice(start, min(start + step, n)) for start in range(0, n, step))
    shared, count = _Shared(chunks), torch.get_num_threads()

    def work() -> None:
        with alone(count):
            worker(shared)

    if threads == 1 or n <= step:
        work()
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work) for _ in range(threads)]:
            done.result()
