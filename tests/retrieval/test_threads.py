from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from sif.retrieval.threads import in_chunks

CASES = [(10, 3, 1), (10, 3, 2), (10, 3, 9), (3, 3, 2), (0, 3, 2)]


@pytest.mark.parametrize(("n", "step", "threads"), CASES)
def test_every_row_is_worked_on_once(n: int, step: int, threads: int) -> None:
    done: list[int] = []
    gradients: list[bool] = []

    def worker(chunks: Iterator[slice]) -> None:
        gradients.append(torch.is_grad_enabled())
        for rows in chunks:
            assert 0 < rows.stop - rows.start <= step
            done.extend(range(rows.start, rows.stop))

    in_chunks(n, step, threads, worker)
    assert sorted(done) == list(range(n))
    assert gradients == [False] * (threads if n > step else 1)
    assert torch.is_grad_enabled()


def test_workers_leave_the_number_of_threads_alone_and_their_errors_come_out() -> None:
    before = torch.get_num_threads()
    inside: list[int] = []

    def worker(chunks: Iterator[slice]) -> None:
        inside.append(torch.get_num_threads())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_chunks(4, 1, 2, worker)
    assert inside == [1, 1]
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [before] == [torch.get_num_threads()]
