"""Endless and single passes over a text, in consecutive windows.

A part is cut into columns of equal length, which are read side by side; the remainder is dropped. A
window is a range of rows, and its targets are the same rows shifted by one. The hidden state at the
end of a window is the start of the next. The stream keeps it in a `Carry` without knowing its kind,
so that a resumed job continues with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sif.core.space import Batch
from sif.data.text.corpus import Int64Array
from sif.errors import DataError

# Lengths of windows: S. Merity, N. S. Keskar, R. Socher. Regularizing and Optimizing LSTM Language
# Models. ICLR 2018, section 4.1. The bound above is that of the code of DARTS (rnn/train.py).
HALF = 0.05
"""Share of the windows that have half the length in the mean."""
DEVIATION = 5.0
SHORTEST = 5
LONGER = 20
"""Steps by which a window may exceed the usual length."""


class Carry:
    """The hidden state at the end of the last window.

    A space reads `value` before a window and writes it after, cut off from the graph. None stands
    for the start of a text.

    Attributes:
        value: None or a tensor.
        number: Of the window that reads it, from 0 over all passes: dropout is seeded by it.
    """

    def __init__(self, value: Tensor | None = None) -> None:
        self.value = value
        self.number = 0

    def state_dict(self) -> dict[str, Any]:
        """A copy of the value, and the number."""
        return {"value": _copied(self.value), "number": self.number}

    def load_state_dict(
        self, state: dict[str, Any], device: torch.device | str | None = None
    ) -> None:
        """Restores the value, on a device if one is given."""
        self.value, self.number = _copied(state["value"], device), state["number"]


Make = Callable[[Tensor, Tensor, Carry], Batch]
"""Inputs (t, b), targets (t, b), both int64, and the carry, to the batch of a space."""


class TextStream:
    """Endless windows of one part.

    Each pass has every target once. Between two passes the carry is emptied.

    Args:
        ids: (n,) words of the part.
        columns: Read side by side: b.
        bptt: Steps of a window: t; fewer at the end of a pass.
        generator: On the CPU; draws lengths and shifts.
        make: Puts inputs, targets and the carry into a batch.
        device: Of the batches.
        vary: Whether lengths are random: normal with deviation 5 around `bptt`, or with probability
            0.05 around half of it; at least 5 and at most `bptt` + 20.
        shift: Whether passes after the first begin with a window of random length below `bptt`, so
            that all later borders lie elsewhere.
        where: Name of the part in messages.

    Raises:
        DataError: The part is shorter than one window, or an argument is below 1.
    """

    def __init__(
        self,
        ids: Int64Array,
        columns: int,
        bptt: int,
        generator: torch.Generator,
        make: Make,
        device: torch.device,
        *,
        vary: bool = False,
        shift: bool = False,
        where: str = "text",
    ) -> None:
        self._columns = _cut(ids, columns, bptt, bptt, where).to(device)
        self._bptt, self._vary, self._shift = bptt, vary, shift
        self._generator, self._make = generator, make
        self._cursor = 0
        self.carry = Carry()

    @property
    def steps_per_pass(self) -> int:
        """Windows in one pass, rounded up; about so many where lengths or shifts are random."""
        mean = _mean_length(self._bptt) if self._vary else self._bptt
        return math.ceil(self._targets / mean)

    @property
    def _targets(self) -> int:
        """The number of targets in each column."""
        return len(self._columns) - 1

    def next(self) -> Batch:
        """The next window."""
        first = 0
        if self._cursor == self._targets:
            self._cursor = 0
            self.carry.value = None
            if self._shift:
                first = int(torch.randint(self._bptt, (), generator=self._generator))
        steps = first or self._length()
        start, end = self._cursor, min(self._cursor + steps, self._targets)
        self._cursor = end
        inputs, targets = self._columns[start:end], self._columns[start + 1 : end + 1]
        window = self._make(inputs, targets, self.carry)
        self.carry.number += 1
        return window

    def _length(self) -> int:
        if not self._vary:
            return self._bptt
        half = float(torch.rand((), generator=self._generator)) < HALF
        mean = self._bptt / 2 if half else self._bptt
        length = mean + DEVIATION * float(torch.randn((), generator=self._generator))
        return min(max(int(length), SHORTEST), self._bptt + LONGER)

    def state_dict(self) -> dict[str, Any]:
        """The state that decides the windows to come, the hidden state included."""
        return {
            "cursor": self._cursor,
            "generator": self._generator.get_state(),
            "carry": self.carry.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self._cursor = state["cursor"]
        self._generator.set_state(state["generator"])
        self.carry.load_state_dict(state["carry"], self._columns.device)


def text_batches(
    ids: Int64Array, columns: int, bptt: int, make: Make, device: torch.device, where: str = "text"
) -> Iterator[Batch]:
    """One pass over a part in its order, with a carry of its own; the last window may be shorter.

    Arguments are those of `TextStream`; with one column, every word but the first is a target.

    Raises:
        DataError: A column has no target, or an argument is below 1.
    """
    rows, carry = _cut(ids, columns, bptt, 1, where).to(device), Carry()
    windows = zip(rows[:-1].split(bptt), rows[1:].split(bptt), strict=True)
    return (make(inputs, targets, carry) for inputs, targets in windows)


def _mean_length(bptt: int) -> float:
    """Mean of random window lengths: the sum over k of the probability of at least k steps."""
    spread = DEVIATION * math.sqrt(2)
    return SHORTEST + sum(
        (1 - HALF) * math.erfc((k - bptt) / spread) / 2
        + HALF * math.erfc((k - bptt / 2) / spread) / 2
        for k in range(SHORTEST + 1, bptt + LONGER + 1)
    )


def _cut(ids: Int64Array, columns: int, bptt: int, least: int, where: str) -> Tensor:
    """(n // columns, columns) words on the CPU, with at least so many targets in a column."""
    for name, value in (("columns", columns), ("steps of a window", bptt)):
        if value < 1:
            raise DataError(f"{where}: {name}: expected at least 1, found {value}")
    length = len(ids) // columns
    if length <= least:
        raise DataError(
            f"{where}: expected at least {columns * (least + 1):,} words, for a window of"
            f" {least:,} steps and its targets in {columns:,} columns, found {len(ids):,}"
        )
    cut = ids[: length * columns].reshape(columns, length)
    return torch.from_numpy(np.ascontiguousarray(cut.T))


def _copied(value: Tensor | None, device: torch.device | str | None = None) -> Tensor | None:
    return None if value is None else value.detach().to(device or value.device, copy=True)
