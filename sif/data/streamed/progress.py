"""The line that tells how far a reading is: rows, rows a second, and bytes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, int], object]
"""Takes further rows, and the bytes that were read for them."""


@contextmanager
def progress(name: str, size: int | None, rows: int = 0) -> Iterator[Advance]:
    """Shows a line on a terminal, where tqdm is installed.

    Args:
        name: What is read.
        size: Bytes of all of it, or None if nobody knows.
        rows: Rows that an earlier process has read.

    Yields:
        A function that counts.
    """
    if not sys.stderr.isatty() or importlib.util.find_spec("tqdm") is None:
        yield lambda rows, size: None
        return
    from tqdm import tqdm

    with tqdm(desc=f"read {name}", total=size, unit="B", unit_scale=True) as bar:
        done = [rows, rows]

        def advance(more: int, size: int) -> None:
            done[1] += more
            seconds = max(bar.format_dict["elapsed"], 1e-3)
            pace = (done[1] - done[0]) / seconds
            bar.set_postfix_str(f"{done[1]:,} rows, {pace:,.0f} rows/s", refresh=False)
            bar.update(size)

        yield advance
