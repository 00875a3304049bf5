"""Reading ahead: the same values, and no thread left."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from sif.data.streamed.ahead import reading_ahead


def counted(taken: list[int], n: int, fails: bool = False) -> Iterator[int]:
    for number in range(n):
        taken.append(number)
        yield number
    if fails:
        raise ValueError("at the end")


def test_values_and_errors_come_in_their_order() -> None:
    with reading_ahead(counted([], 9)) as values:
        assert list(values) == list(range(9))
    met = []
    with pytest.raises(ValueError, match="at the end"), reading_ahead(counted([], 5, True)) as rest:
        met.extend(rest)
    assert met == list(range(5))


def test_few_are_taken_beforehand_and_the_thread_ends() -> None:
    taken: list[int] = []
    before = threading.active_count()
    with reading_ahead(counted(taken, 1000), depth=2) as values:
        assert next(values) == 0
        assert len(taken) <= 5
    assert threading.active_count() == before
    assert len(taken) <= 6
