"""Processes that work together: what they add up, tell each other, and raise."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sif.errors import DivergedError, EntryError, LostRankError
from sif.utils.ranks import ALONE, Ranks, joined, on_cpu, shared_by, sharing, tells

OnRanks = Callable[..., list[Any]]


def said(work: Callable[[], Any]) -> str:
    """The error of work, with its kind."""
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def everything(ranks: Ranks) -> dict[str, Any]:
    """What each process finds of each way to work together."""
    number, found = ranks.number, dict[str, Any]()
    assert sharing() == ranks
    whole = torch.arange(6.0).view(2, 3) * (number + 1)
    part = torch.ones(4, 4)
    ranks.add(whole, part[:, 1])  # a column has no memory of its own
    found["sums"] = whole.tolist(), part.tolist()
    found["own"] = [list(ranks.own(range(1, 12, 2))), list(ranks.own(range(1)))]
    same = torch.full((3,), float(number))
    ranks.align(same)
    found["aligned"] = same.tolist()
    found["told"] = ranks.told(f"of {number}")
    found["gathered"] = ranks.gathered(number * 10)
    with shared_by(ALONE):
        found["alone"] = sharing().told(number), sharing().own(range(2))

    def fails() -> None:
        raise EntryError(0, "expected a number", "none")

    def fails_here() -> None:
        if number == 1:
            raise DivergedError("process 1 diverged")

    found["first"] = ranks.first(lambda: (number, sharing() == ALONE))
    found["once"] = ranks.once(lambda: number + 7)
    found["errors"] = [
        said(lambda: ranks.once(fails)), said(lambda: ranks.together(fails_here)),
        said(lambda: ranks.in_turn(fails_here)),
    ]  # fmt: skip
    with joined("cpu") as inner:  # a job within a job
        found["inner"] = inner == ranks
    return found


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_processes_add_up_tell_and_raise_alike(count: int, on_ranks: OnRanks) -> None:
    results = on_ranks(count, everything)
    total = sum(range(1, count + 1))
    for number, found in enumerate(results):
        sums, part = found["sums"]
        assert sums == (torch.arange(6.0).view(2, 3) * total).tolist()
        assert part == [[1.0, float(count), 1.0, 1.0]] * 4
        assert found["own"] == [list(range(1, 12, 2))[number::count], [0] if number == 0 else []]
        assert found["aligned"] == [0.0] * 3
        assert found["told"] == "of 0"
        assert found["gathered"] == [10 * one for one in range(count)]
        assert found["alone"] == (number, range(2))
        assert found["first"] == ((0, True) if number == 0 else None)
        assert found["once"] == 7
        once, together, in_turn = found["errors"]
        assert once == "EntryError: row 1: expected a number, found none"
        assert together == "DivergedError: process 1 diverged"
        own = f"RankError: process 1 of {count}: process 1 diverged"
        assert in_turn == (own if number == 1 else "nothing")
        assert found["inner"]


def loses_one(ranks: Ranks) -> str:
    if ranks.number == 1:
        os._exit(0)
    try:
        for _ in range(1000):
            ranks.add(torch.ones(3))
    except LostRankError as error:
        return str(error)
    return "nothing"


@pytest.mark.slow
def test_the_end_of_a_process_is_told_in_one_line(on_ranks: OnRanks, tmp_path: Any) -> None:
    (tmp_path / "found-1").write_bytes(b"\x80\x04N.")  # None; it has no time to write
    told = on_ranks(2, loses_one)[0]
    assert told == "torchrun: process 0 of 2 lost another one, which ended; the job can be resumed"


def test_one_process_is_alone() -> None:
    with joined("cpu") as ranks:
        assert ranks == ALONE
    value = torch.ones(2)
    ALONE.add(value)
    ALONE.align(value)
    assert value.tolist() == [1.0, 1.0]
    assert ALONE.gathered(5) == [5]
    assert ALONE.once(lambda: 3) == ALONE.together(lambda: 3) == ALONE.in_turn(lambda: 3) == 3
    assert list(ALONE.own(range(3))) == [0, 1, 2]


def test_before_processes_meet_one_of_each_machine_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tells()
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert not tells()
    monkeypatch.setenv("LOCAL_RANK", "0")  # of the second machine
    assert tells()


def who_tells(ranks: Ranks) -> list[bool]:
    return [tells(), tells()]


@pytest.mark.slow
def test_of_those_that_met_one_tells(on_ranks: OnRanks) -> None:
    found = on_ranks(3, who_tells)
    assert sorted(found) == [[False, False], [False, False], [True, True]]


def test_tensors_are_told_from_the_cpu() -> None:
    tensor = torch.ones(2)
    state = {"a": [tensor, (1, tensor)], 3: None}
    assert on_cpu(state) == state
