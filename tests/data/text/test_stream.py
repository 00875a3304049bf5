"""Windows over a text: what they cover, what they carry, how they are resumed."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sif.core.stream import Stream
from sif.data.text.stream import Carry, TextStream, text_batches
from sif.errors import DataError
from sif.utils.checkpoint import load, save

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Window:
    """The input of a space, and the content of the carry at that time."""

    inputs: Tensor
    targets: Tensor
    carry: Carry
    value: Any


def make(inputs: Tensor, targets: Tensor, carry: Carry) -> Window:
    """Reads the carry and leaves something in it, as a space does."""
    window = Window(inputs, targets, carry, copy.deepcopy(carry.value))
    carry.value = inputs[-1].double()
    return window


def stream(n: int = 101, columns: int = 4, bptt: int = 7, seed: int = 0, **how: bool) -> TextStream:
    generator = torch.Generator().manual_seed(seed)
    return TextStream(np.arange(n), columns, bptt, generator, make, CPU, **how)


def one_pass(source: TextStream, targets: int) -> list[Window]:
    """Windows until that many targets of a column were seen."""
    found: list[Window] = []
    while targets > 0:
        found.append(source.next())
        targets -= len(found[-1].inputs)
    return found


def joined(windows: Iterable[Window]) -> tuple[Tensor, Tensor]:
    windows = list(windows)
    return torch.cat([w.inputs for w in windows]), torch.cat([w.targets for w in windows])


def same(one: Window, other: Window) -> bool:
    if one.value is None or other.value is None:
        carried = one.value is other.value
    else:
        carried = torch.equal(one.value, other.value)
    return carried and torch.equal(one.inputs, other.inputs)


@settings(deadline=None)
@given(
    st.integers(1, 5), st.integers(1, 60), st.integers(0, 3), st.integers(1, 12),
    st.booleans(), st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_every_target_once_per_pass(
    columns: int, extra: int, left: int, bptt: int, vary: bool, shift: bool, seed: int
) -> None:
    rows = bptt + extra
    n = columns * rows + min(left, columns - 1)
    source = stream(n, columns, bptt, seed, vary=vary, shift=shift)
    expected = torch.arange(columns * rows).reshape(columns, rows).T
    for _ in range(3):
        windows = one_pass(source, rows - 1)
        inputs, targets = joined(windows)
        assert torch.equal(inputs, expected[:-1]) and torch.equal(targets, expected[1:])
        assert all(window.inputs.shape == window.targets.shape for window in windows)
        # The carry is empty at the start of a pass; else it holds what the window before left.
        assert windows[0].value is None
        for before, window in itertools.pairwise(windows):
            assert torch.equal(window.value, before.inputs[-1].double())
        longest = max(len(window.inputs) for window in windows)
        assert longest <= (max(bptt + 20, 5) if vary else bptt)
    assert inputs.dtype == targets.dtype == torch.int64


def test_a_pass_has_as_many_windows_as_told() -> None:
    for n, windows in [(101, 4), (116, 4), (117, 4), (120, 5)]:  # 24, 28, 28 and 29 targets
        source = stream(n)
        assert source.steps_per_pass == windows
        assert len(one_pass(source, n // 4 - 1)) == windows


def test_random_lengths_are_those_of_the_paper() -> None:
    source = stream(400_001, columns=1, bptt=70, vary=True)
    windows = one_pass(source, 400_000)
    lengths = np.array([len(window.inputs) for window in windows[:-1]])
    assert lengths.min() >= 5 and lengths.max() <= 90
    half = lengths < 52
    assert half.mean() == pytest.approx(0.05, abs=0.01)
    # Rounded down, so half a step below the mean.
    assert lengths[half].mean() == pytest.approx(34.5, abs=1)
    assert lengths[~half].mean() == pytest.approx(69.5, abs=0.3)
    assert lengths[~half].std() == pytest.approx(5, abs=0.3)
    assert len(windows) == pytest.approx(source.steps_per_pass, rel=0.005)
    source = stream(40_001, columns=1, bptt=6, vary=True)
    short = one_pass(source, 40_000)
    assert min(len(window.inputs) for window in short[:-1]) == 5
    assert len(short) == pytest.approx(source.steps_per_pass, rel=0.02)


def test_shifted_passes_have_other_borders() -> None:
    source = stream(shift=True)
    assert [len(window.inputs) for window in one_pass(source, 24)] == [7, 7, 7, 3]
    firsts = set()
    for _ in range(60):
        lengths = [len(window.inputs) for window in one_pass(source, 24)]
        firsts.add(lengths[0])
        assert set(lengths[1:-1]) == {7}
    assert firsts == set(range(1, 8))


@pytest.mark.parametrize(
    "how", [{}, {"vary": True}, {"shift": True}, {"vary": True, "shift": True}]
)
@pytest.mark.parametrize("taken", [0, 1, 3, 4, 9])
def test_a_resumed_stream_continues_as_if_nothing_had_been(
    tmp_path: Path, taken: int, how: dict[str, bool]
) -> None:
    source = stream(**how)
    for _ in range(taken):
        source.next()
    save(tmp_path / "state", source.state_dict(), "test")
    expected = [source.next() for _ in range(12)]
    other = stream(seed=9, **how)
    other.next()
    other.load_state_dict(load(tmp_path / "state", "test"))
    assert all(same(window, other.next()) for window in expected)


def test_a_state_is_a_copy() -> None:
    value = torch.ones(2, requires_grad=True)
    state = Carry(value).state_dict()
    with torch.no_grad():
        value.fill_(5)
    other = Carry()
    other.load_state_dict(state)
    assert other.value is not None
    assert other.value.tolist() == [1, 1] and not other.value.requires_grad
    other.value.fill_(7)
    assert state["value"].tolist() == [1, 1]
    other.load_state_dict(state, "meta")
    assert other.value.device.type == "meta"
    other.load_state_dict(Carry().state_dict())
    assert other.value is None


def test_windows_that_hand_on_their_state_are_one_long_pass() -> None:
    torch.manual_seed(0)
    embedding, cell = nn.Embedding(9, 5), nn.GRU(5, 6)
    ids = np.random.default_rng(0).integers(0, 9, 104)

    def read(inputs: Tensor, targets: Tensor, carry: Carry) -> Tensor:
        outputs, state = cell(embedding(inputs), carry.value)
        carry.value = state.detach()
        return outputs

    whole, _ = cell(embedding(torch.from_numpy(ids.reshape(4, 26).T)[:-1]))
    generator = torch.Generator().manual_seed(0)
    source = TextStream(ids, 4, 7, generator, read, CPU, vary=True, shift=True)
    for _ in range(3):
        parts: list[Tensor] = []
        while sum(map(len, parts)) < 25:
            parts.append(source.next())
        torch.testing.assert_close(torch.cat(parts), whole)
    torch.testing.assert_close(torch.cat(list(text_batches(ids, 4, 7, read, CPU))), whole)


@pytest.mark.parametrize(("n", "bptt"), [(2, 1), (9, 4), (10, 4), (9, 99)])
def test_one_pass_has_every_word_but_the_first(n: int, bptt: int) -> None:
    windows = list(text_batches(np.arange(n), 1, bptt, make, CPU))
    inputs, targets = joined(windows)
    assert inputs.flatten().tolist() == list(range(n - 1))
    assert targets.flatten().tolist() == list(range(1, n))
    assert [len(window.inputs) for window in windows[:-1]] == [bptt] * (len(windows) - 1)
    assert windows[0].value is None and len({id(window.carry) for window in windows}) == 1
    again = list(text_batches(np.arange(n), 1, bptt, make, CPU))
    assert all(same(one, other) for one, other in zip(windows, again, strict=True))


def test_parts_that_are_too_short_are_refused() -> None:
    generator = torch.Generator().manual_seed(0)
    told = (
        r"^valid: expected at least 32 words, for a window of 7 steps and its targets in 4 columns,"
        r" found 31$"
    )
    with pytest.raises(DataError, match=told):
        TextStream(np.arange(31), 4, 7, generator, make, CPU, where="valid")
    assert TextStream(np.arange(32), 4, 7, generator, make, CPU).steps_per_pass == 1
    with pytest.raises(DataError, match=r"^test: expected at least 8 words, .*found 7$"):
        text_batches(np.arange(7), 4, 7, make, CPU, where="test")
    for columns, bptt, name in [(0, 7, "columns"), (4, 0, "steps of a window"), (-1, 7, "columns")]:
        with pytest.raises(DataError, match=f"^text: {name}: expected at least 1, found"):
            stream(columns=columns, bptt=bptt)


def test_streams_are_what_loops_expect() -> None:
    source: Stream = stream()
    assert set(source.state_dict()) == {"cursor", "generator", "carry"}
