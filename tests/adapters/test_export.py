"""Exported files give the scores of the model that they come from, in the programs they are for."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from implicit.cpu.als import AlternatingLeastSquares

from sif.adapters.export import CatalogueScores, export, history_inputs, user_inputs
from sif.cli import main as cli
from sif.errors import CheckpointError, ConfigError, UnknownIdError
from sif.recommender.recommender import Recommender

KINDS = [
    ("multiply", "ranking"), ("max", "ranking"), ("min+max", "rating"), ("multiply", "rating"),
    ("multiply", "ranking", "primitives"),
]  # fmt: skip


def saved(recommender: Recommender, folder: Path) -> str:
    recommender.save(folder / "model")
    return str(folder)


def check(recommender: Recommender, items: list[str], scores: Any) -> None:
    """Scores (b, d + 1) -> (b, n) are the recommender's, for users and for a history."""
    names = recommender.model_.vocabularies[0].ids[:5]
    found = scores(user_inputs(recommender, names))
    for user, row in zip(names, found, strict=True):
        ids, expected = recommender.recommend(user, 100, filter_already_liked=False, as_arrays=True)
        own = dict(zip(items, row.tolist(), strict=True))
        np.testing.assert_allclose([own[i] for i in ids], expected, rtol=1e-5, atol=1e-5)
        assert all(np.isneginf(own[i]) for i in set(items) - set(ids))
    history = ["i1", "i3", "i6"]
    ratings = [5, 4, 1] if recommender.model_.objective == "rating" else None
    ids, expected = recommender.recommend_new(
        history, 100, ratings, filter_already_liked=False, as_arrays=True
    )
    (row,) = scores(history_inputs(recommender, history, ratings))
    own = dict(zip(items, row.tolist(), strict=True))
    np.testing.assert_allclose([own[i] for i in ids], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_torch_loads_it(make: Any, kind: tuple[str, ...], tmp_path: Path) -> None:
    recommender = make(*kind)
    file = tmp_path / "f.pt2"
    assert cli.main(["export", saved(recommender, tmp_path), "--to", "torch", "--output", str(file)]
                    ) == 0  # fmt: skip
    notes = {"items": "", "expression": ""}
    module = torch.export.load(io.BytesIO(file.read_bytes()), extra_files=notes).module()
    assert notes["expression"] == recommender.model_.expression
    check(recommender, json.loads(notes["items"]), lambda x: module(torch.from_numpy(x)).numpy())
    assert {path.name for path in tmp_path.iterdir()} == {"model", "f.pt2"}


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_onnxruntime_loads_it(make: Any, kind: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    recommender = make(*kind)
    session = runtime.InferenceSession(export(recommender, "onnx", tmp_path / "f.onnx"))
    (told,) = session.get_inputs()
    assert told.name == "users" and told.shape[1] == 9
    notes = session.get_modelmeta().custom_metadata_map
    assert notes["expression"] == recommender.model_.expression
    check(recommender, json.loads(notes["items"]),
          lambda x: session.run(["scores"], {"users": x})[0])  # fmt: skip


def test_what_an_onnx_file_cannot_hold_is_refused(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    monkeypatch.setattr("sif.adapters.export.ONNX_BYTES", 100)
    with pytest.raises(ConfigError, match="expected at most 100 bytes of weights, found 752"):
        export(make("max"), "onnx", tmp_path / "f.onnx")


def test_what_no_training_saw_is_never_recommended(make: Any, tmp_path: Path) -> None:
    recommender = make(rare=True)
    file = export(recommender, "torch", tmp_path / "f.pt2")
    module = torch.export.load(io.BytesIO(file.read_bytes())).module()
    items = recommender.model_.vocabularies[1].ids.tolist()
    scores = module(torch.from_numpy(user_inputs(recommender, ["u1"])))
    assert [items[i] for i in torch.nonzero(scores[0].isneginf())[:, 0]] == ["rare"]


def test_ratings_of_what_no_training_saw_are_the_recommenders(make: Any) -> None:
    recommender = make("max", "rating", rare=True)
    names = recommender.model_.vocabularies[0].ids.tolist()
    with torch.no_grad():
        inputs = torch.from_numpy(user_inputs(recommender, names))
        scores = CatalogueScores(recommender.model_)(inputs)
    expected = recommender.server().scores(np.arange(len(names)))
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_implicit_loads_it(make: Any, tmp_path: Path) -> None:
    recommender = make("multiply")
    words = ["export", saved(recommender, tmp_path), "--to", "implicit", "--output"]
    assert cli.main([*words, str(tmp_path / "f.npz")]) == 0
    model = AlternatingLeastSquares.load(str(tmp_path / "f.npz"))
    row = int(np.flatnonzero(model.user_ids == "u7")[0])
    ids, _ = model.recommend(row, None, N=5, filter_already_liked_items=False)
    expected, _ = recommender.recommend("u7", 5, filter_already_liked=False, as_arrays=True)
    assert model.item_ids[ids].tolist() == expected.tolist()


def test_bad_input_is_one_line(
    make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(make("max"), tmp_path)
    same = saved(make("plus"), tmp_path / "same")
    monkeypatch.setitem(sys.modules, "onnx", None)
    cases = {
        f"export {folder} --to implicit --output a.npz":
            "error: implicit: expected a function whose scores are a product, found max(user, item",
        f"export {folder} --to torch --output a.onnx": "error: a.onnx: expected a name that ends",
        f"export {folder} --to tflite --output a.b": "error: --to: expected one of implicit, onnx",
        f"export {folder} --to onnx --output a.onnx":
            "error: onnx: not installed; pip install 'sif[onnx]'",
        f"export {same} --to torch --output a.pt2": "error: recommend: plus(user, item) ranks",
        f"export {tmp_path / 'absent'} --to torch --output a.pt2": f"error: {tmp_path}/absent",
        f"export {folder} --to torch --output {tmp_path}/no/a.pt2": f"error: {tmp_path}/no",
        f"export {folder}": "error: the following arguments are required: --to, --output",
    }  # fmt: skip
    for words, message in cases.items():
        assert cli.main(words.split()) == 2, words
        out, error = capsys.readouterr()
        assert out == "" and error.startswith(message) and error.count("\n") == 1, error
    assert not Path("a.npz").exists() and not Path("a.pt2").exists()


def test_a_missing_library_is_named(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    monkeypatch.delitem(sys.modules, "sif.adapters.implicit", raising=False)
    with pytest.raises(ConfigError, match=r"implicit.*not installed; pip install implicit"):
        export(make(), "implicit", Path("a.npz"))


@pytest.mark.parametrize("library", ["lenskit", "cornac"])
def test_an_adapter_without_its_library_says_what_to_install(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    for name in [n for n in sys.modules if n.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"sif.adapters.{library}", raising=False)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'sif\[{library}\]'"):
        importlib.import_module(f"sif.adapters.{library}")


def test_a_failed_write_leaves_what_was_there(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "f.npz"
    file.write_bytes(b"before")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CheckpointError, match=r"f\.npz: cannot be written: No space left"):
        export(make(), "implicit", file)
    assert [path.name for path in tmp_path.iterdir()] == ["f.npz"]
    assert file.read_bytes() == b"before"


def test_users_are_known_ones(make: Any) -> None:
    with pytest.raises(UnknownIdError, match="'nobody'"):
        user_inputs(make(), ["nobody"])
