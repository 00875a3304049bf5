"""Work on many rows by threads that each take whole chunks of them."""

from __future__ import annotations

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


def in_chunks(n: int, step: int, threads: int, worker: Callable[[Iterator[slice]], None]) -> None:
    """Has the rows 0..n worked on, `step` at a time.

    Args:
        n: Rows.
        step: Rows per chunk.
        threads: Workers; with one, or a single chunk, the caller's thread works and torch's own
            threads help it.
        worker: Called once per thread without gradients; goes through the chunks that it is given,
            of which each is given to one worker.
    """
    # Advanced by all workers: who is done takes the next chunk.
    chunks = (slice(start, min(start + step, n)) for start in range(0, n, step))
    if threads == 1 or n <= step:
        with torch.no_grad():
            worker(chunks)
        return
    shared, count = _Shared(chunks), torch.get_num_threads()

    def alone() -> None:
        # The number is a thread's own; what threads to come start with is the last one set.
        torch.set_num_threads(1)
        try:
            with torch.no_grad():  # a thread's own as well
                worker(shared)
        finally:
            torch.set_num_threads(count)

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(alone) for _ in range(threads)]:
            done.result()
