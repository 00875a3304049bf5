from __future__ import annotations

import builtins
import errno
import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from sif.errors import CheckpointError
from sif.utils import checkpoint
from sif.utils.checkpoint import (
    load,
    save,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
)


def same(a: Any, b: Any) -> bool:
    """Equality of structure, types and bits (NaN equals itself, 0.0 differs from -0.0)."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        bits = [t.contiguous().view(-1).view(torch.uint8) for t in (a, b) if t.numel()]
        return not bits or bits[0].equal(bits[1])
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    return bool(a == b)


dtypes = st.sampled_from(
    ["bool", "int8", "uint8", "int16", "int32", "int64", "uint32", "uint64", "float32", "float64"]
)
arrays = st_numpy.arrays(
    st.one_of(dtypes, st.just("<U3")), st_numpy.array_shapes(min_dims=0, min_side=0, max_side=3)
)
plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(codec="utf-8"))
)
states = st.recursive(
    st.one_of(plain, arrays, arrays.filter(lambda a: a.dtype.kind in "bif").map(torch.tensor)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), inner, max_size=3),
    ),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(state=states)
def test_any_state_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, state: Any
) -> None:
    path = tmp_path_factory.mktemp("c") / "state"
    save(path, state, "any")
    assert same(load(path, "any"), state)


def test_skeleton_words_in_user_keys_are_only_keys(tmp_path: Path) -> None:
    state = {"tensor": "0", "dict": [["a", 1]], "list": {"tuple": ()}, 0: {"0": None}}
    save(tmp_path / "c", state, "any")
    assert same(load(tmp_path / "c", "any"), state)


def test_views_shared_and_odd_tensors_are_stored_by_value(tmp_path: Path) -> None:
    base = torch.arange(6.0).reshape(2, 3)
    state = {
        "base": base,
        "again": base,
        "transposed": base.T,
        "column": base[:, 1],
        "expanded": torch.ones(1).expand(3),
        "half": torch.tensor([1.5, float("nan")], dtype=torch.bfloat16),
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 4),
        "big_endian": np.array([1, 2], dtype=">i4"),
        "numpy_scalar": np.float32(0.1),
    }
    save(tmp_path / "c", state, "any")
    back = load(tmp_path / "c", "any")
    for name in ("base", "again", "transposed", "column", "expanded", "half", "scalar", "empty"):
        assert same(state[name], back[name]), name
    assert back["big_endian"].tolist() == [1, 2]
    assert back["numpy_scalar"] == float(np.float32(0.1))
    back["base"][0, 0] = 9.0
    assert back["again"][0, 0] == 0.0


def test_gradients_are_not_kept(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    save(tmp_path / "c", [weight], "any")
    (back,) = load(tmp_path / "c", "any")
    assert not back.requires_grad
    assert back.equal(weight)


def train(model: Any, make_optimizer: Any, stream: torch.Generator, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        make_optimizer.zero_grad()
        loss = model(torch.rand(8, 3, generator=stream)).square().mean()
        loss.backward()
        make_optimizer.step()
        losses.append(loss.item())
    return losses


def fresh() -> tuple[Any, Any, torch.Generator]:
    model = torch.nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(torch.linspace(-1, 1, 6).reshape(2, 3))
        model.bias.zero_()
    make_optimizer = torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.8, 0.99), amsgrad=True)
    return model, make_optimizer, torch.Generator().manual_seed(3)


def test_resumed_training_is_the_uninterrupted_one(tmp_path: Path) -> None:
    uninterrupted = train(*fresh(), steps=6)
    model, make_optimizer, stream = fresh()
    first = train(model, make_optimizer, stream, steps=3)
    numpy_stream = np.random.default_rng(2**100)
    state = {
        "model": dict(model.state_dict()),
        "optimizer": make_optimizer.state_dict(),
        "stream": stream.get_state(),
        "numpy": numpy_stream.bit_generator.state,
    }
    save(tmp_path / "c", state, "search")
    back = load(tmp_path / "c", "search")
    model, make_optimizer, stream = fresh()
    model.load_state_dict(back["model"])
    make_optimizer.load_state_dict(back["optimizer"])
    stream.set_state(back["stream"])
    assert first + train(model, make_optimizer, stream, steps=3) == uninterrupted
    assert back["numpy"] == numpy_stream.bit_generator.state


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, {2, 3}]}, r"search\['a'\]\[1\]: a value of type set"),
        ({"a": np.array([None, "x"])}, r"search\['a'\]: an array of dtype object"),
        ([1j], r"search\[0\]: a value of type complex"),
        ({(1, 2): 3}, r"search: expected keys of int or str, found \(1, 2\)"),
        ({True: 3}, "search: expected keys of int or str, found True"),
    ],
)
def test_what_cannot_be_stored_is_named_and_nothing_is_written(
    tmp_path: Path, value: Any, place: str
) -> None:
    with pytest.raises(CheckpointError, match=place):
        save(tmp_path / "c", value, "search")
    assert list(tmp_path.iterdir()) == []


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "whole", {"w": torch.arange(5), "n": [1, "x"]}, "search")
    whole = (tmp_path / "whole").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="cut: ") as caught:
            load(tmp_path / "cut", "search")
        assert "\n" not in str(caught.value)


def foreign_files() -> dict[str, bytes]:
    return {
        "text": b"user,item,rating\n1,2,3\n",
        "zip": b"PK\x03\x04" + bytes(60),
        "zeros": bytes(64),
        "safetensors": safetensors.torch.save({"w": torch.ones(2)}),
        "metadata": safetensors.torch.save({"w": torch.ones(2)}, metadata={"sif": "[1]"}),
        "torch": b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(100),
    }


@pytest.mark.parametrize("name", foreign_files())
def test_a_foreign_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(foreign_files()[name])
    with pytest.raises(CheckpointError, match=r"expected a sif checkpoint|truncated"):
        load(tmp_path / name, "search")


def test_missing_other_kind_and_other_version_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        load(tmp_path / "absent", "search")
    save(tmp_path / "c", {}, "train")
    with pytest.raises(CheckpointError, match="expected a 'search' file, found 'train'"):
        load(tmp_path / "c", "search")
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    with pytest.raises(CheckpointError, match="format version 1, this sif reads 2"):
        load(tmp_path / "c", "train")


class FullDisk:
    """A file that takes half of what is written and then reports a full disk."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        self.file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "c", {"epoch": 1}, "search")
    real = builtins.open
    monkeypatch.setattr(builtins, "open", lambda *a, **k: FullDisk(real(*a, **k)))
    with pytest.raises(CheckpointError, match="c: cannot be written: No space left on device"):
        save(tmp_path / "c", {"epoch": 2}, "search")
    monkeypatch.undo()
    assert load(tmp_path / "c", "search") == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_process_killed_before_the_rename_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "c", {"epoch": 1}, "search")

    def killed(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(SystemExit):
        save(tmp_path / "c", {"epoch": 2}, "search")
    monkeypatch.undo()
    assert load(tmp_path / "c", "search") == {"epoch": 1}
    save(tmp_path / "c", {"epoch": 3}, "search")
    assert load(tmp_path / "c", "search") == {"epoch": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_the_data_is_on_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda f: (calls.append("fsync"), real_fsync(f))[1])
    monkeypatch.setattr(
        os, "replace", lambda a, b: (calls.append("replace"), real_replace(a, b))[1]
    )
    write_bytes_atomic(tmp_path / "a", b"x")
    assert calls[:2] == ["fsync", "replace"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_text_atomic(tmp_path / "file" / "inner" / "a", "x")


def test_text_and_json(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "new" / "t", "é\n")
    assert (tmp_path / "new" / "t").read_bytes() == b"\xc3\xa9\n"
    write_json_atomic(tmp_path / "j", {"a": np.float64(0.5), "b": np.int64(3), "p": Path("x")})
    assert json.loads((tmp_path / "j").read_text()) == {"a": 0.5, "b": 3, "p": "x"}
    with pytest.raises(CheckpointError, match="expected finite numbers"):
        write_json_atomic(tmp_path / "j", {"a": float("nan")})
    assert json.loads((tmp_path / "j").read_text())["a"] == 0.5


NUMBERS = st.floats() | st.integers(-5, 5) | st.none() | st.text(max_size=2) | st.booleans()
KEYS = st.text("abc", min_size=1, max_size=2)
DOCUMENTS = st.dictionaries(
    KEYS, st.recursive(NUMBERS, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v))
)


@given(DOCUMENTS)
def test_a_document_has_null_and_a_reason_for_what_is_not_finite(document: dict[str, Any]) -> None:
    found = checkpoint.finite_document(document, {})
    text = json.dumps(found, allow_nan=False)
    assert ("NaN" in json.dumps(document) or "Infinity" in json.dumps(document)) == (
        checkpoint.NOT_FINITE in found
    )
    again = checkpoint.with_nan(json.loads(text))
    again.pop(checkpoint.NOT_FINITE, None)
    if checkpoint.NOT_FINITE not in found:
        assert again == document


def test_reasons_stand_at_the_places_of_numbers() -> None:
    document = {
        "low": -math.inf, "a": {"b": [1.0, math.nan, (2, np.float32("inf"))]}, "none": None
    }  # fmt: skip
    found = checkpoint.finite_document(document, {"low": "one user", "high": "never told"})
    assert found == {
        "low": None, "a": {"b": [1.0, None, [2, None]]}, "none": None,
        "not_finite": {"low": "one user", "a.b": "found nan"},
    }  # fmt: skip
    again = checkpoint.with_nan(found)
    assert math.isnan(again["low"]) and math.isnan(again["a"]["b"][1]) and again["none"] is None
