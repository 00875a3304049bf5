"""Objects that hold each other are collected where the process has grown, and only there."""

from __future__ import annotations

import gc
import weakref

import pytest

from sif.utils import device
from sif.utils.device import GARBAGE, give_back_memory


class Holder:
    """Holds itself."""

    def __init__(self) -> None:
        self.itself = self


def kept(monkeypatch: pytest.MonkeyPatch, sizes: list[int | None]) -> list[bool]:
    """Whether an object that holds itself outlives each call, by the sizes of the process."""
    found = []
    monkeypatch.setattr(device, "_garbage", device._Garbage())
    gc.disable()
    try:
        for size in sizes:
            monkeypatch.setattr(device, "_resident_bytes", lambda size=size: size)
            known = weakref.ref(Holder())
            give_back_memory()
            found.append(known() is not None)
    finally:
        gc.enable()
    return found


def test_garbage_is_looked_for_where_a_process_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = GARBAGE // 2, 2 * GARBAGE
    assert kept(monkeypatch, [1, small, large, large, large + small]) == [
        True, True, False, True, True,
    ]  # fmt: skip
    assert kept(monkeypatch, [large, 1, large]) == [True, True, False]
    assert kept(monkeypatch, [None, None]) == [False, False]
