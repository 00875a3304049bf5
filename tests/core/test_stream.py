from __future__ import annotations

import pytest
import torch

from sif.core.stream import Permutation


def make(n: int, batch_size: int, seed: int = 0) -> Permutation:
    return Permutation(n, batch_size, torch.Generator().manual_seed(seed))


def draw(stream: Permutation, batches: int) -> list[int]:
    return [int(i) for _ in range(batches) for i in stream.next()]


@pytest.mark.parametrize(("n", "batch_size"), [(10, 5), (10, 3), (7, 1), (5, 4), (2, 1)])
def test_each_index_once_per_pass_across_batch_borders(n: int, batch_size: int) -> None:
    drawn = draw(make(n, batch_size), 6 * n)
    assert len(drawn) == 6 * n * batch_size
    for start in range(0, len(drawn), n):  # a pass need not end where a batch does
        assert sorted(drawn[start : start + n]) == list(range(n))


def test_passes_are_shuffled_anew_and_by_the_seed() -> None:
    stream = make(30, 10)
    first, second = draw(stream, 3), draw(stream, 3)
    assert first != second
    assert first != list(range(30))
    assert draw(make(30, 10), 3) == first
    assert draw(make(30, 10, seed=1), 3) != first


@pytest.mark.parametrize(("n", "batch_size", "steps"), [(10, 5, 2), (10, 3, 4), (4, 9, 1)])
def test_steps_per_pass(n: int, batch_size: int, steps: int) -> None:
    assert make(n, batch_size).steps_per_pass == steps


@pytest.mark.parametrize("batch_size", [6, 100])
def test_a_batch_of_everything_keeps_its_order(batch_size: int) -> None:
    stream = make(6, batch_size)
    assert draw(stream, 2) == [*range(6), *range(6)]


@pytest.mark.parametrize("taken", range(9))
def test_a_resumed_stream_sees_the_same_batches(taken: int) -> None:
    stream = make(11, 4)
    draw(stream, taken)
    state = stream.state_dict()
    expected = draw(stream, 12)
    other = make(11, 4, seed=99)
    draw(other, 5)
    other.load_state_dict(state)
    assert draw(other, 12) == expected
