"""Threads that work on chunks of many rows."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch


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
    """Works on the rows 0..n, `step` at a time.

    Args:
        n: Rows.
        step: Rows per chunk.
        threads: Workers; with one, or a single chunk, that is the caller's thread. No worker's
            torch has further threads: those meet after every step, and where cores are shared
            waiting for the slowest each time costs more than they gain.
        worker: Called once per thread without gradients; goes through the chunks that it is given,
            each of which goes to one worker.
    """
    chunks = deque(slice(start, min(start + step, n)) for start in range(0, n, step))
    count = torch.get_num_threads()

    def remaining() -> Iterator[slice]:  # an idle worker takes the next chunk in one atomic step
        with contextlib.suppress(IndexError):
            while True:
                yield chunks.popleft()

    def work() -> None:
        with alone(count):
            worker(remaining())

    if threads == 1 or n <= step:
        work()
        return
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work) for _ in range(threads)]:
            future.result()
