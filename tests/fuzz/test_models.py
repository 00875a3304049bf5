"""Damaged model folders of all three kinds: refused in one line at once, or answering.

Two thousand of each:  SIF_FUZZ_TRIALS=2000 pytest tests/fuzz/test_models.py
"""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sif
from sif.data.images.augment import Statistics
from sif.errors import LONGEST, SifError
from sif.problems.image_classifier import ImageClassifier
from sif.problems.text_model import TextModel
from sif.spaces.cnn.cells import PUBLISHED as CELLS
from sif.spaces.cnn.networks import CellNetwork, Layout
from sif.spaces.rnn.cells import PUBLISHED, format_cell
from sif.spaces.rnn.dropout import TextShape
from sif.spaces.rnn.networks import CellRecurrence, LanguageModel
from sif.utils import checkpoint

ODD: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 10**6, 10**9, 10**30, 1.5, 1e308, float("nan"), float("inf"), True, None, "",
    "x", "tanh", [], {}, [1], [[]], {"a": 1}, "Genotype()", "\x00", [0.5] * 3, ["a", "a"],
)  # fmt: skip


def classifier(folder: Path) -> None:
    network = CellNetwork(CELLS["darts-v2"], Layout(classes=3, channels=2, cells=3))
    statistics = Statistics((0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    ImageClassifier(
        network, CELLS["darts-v2"], statistics, ("a", "b", "c"), (8, 8, 3)
    ).save(folder)  # fmt: skip


def language_model(folder: Path) -> None:
    shape, cell = TextShape(vocabulary=6, hidden=4, nodes=8), PUBLISHED["darts-v2"]
    network = LanguageModel(shape, CellRecurrence(shape, cell))
    TextModel(network, format_cell(cell), ["<unk>", "<eos>", "a", "b", "c", "d"]).save(folder)


def recommender(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rows = sorted({(f"u{rng.integers(9)}", f"i{rng.integers(7)}") for _ in range(40)})
    import pandas as pd

    model = sif.Recommender(
        budget="20s", threads=1, seed=0, baselines=[],
        settings={"search.epochs": 1, "train.epochs": 1, "train.l2": [1.0]}, dimension=4,
    )  # fmt: skip
    model.fit(pd.DataFrame(rows, columns=["user", "item"])).save(folder)


def ask_classifier(folder: Path) -> None:
    ImageClassifier.load(folder).predict(np.zeros((1, 8, 8, 3), np.uint8))


def ask_language_model(folder: Path) -> None:
    TextModel.load(folder).next_words(["a"])


def ask_recommender(folder: Path) -> None:
    model = sif.Recommender.load(folder, unknown="popular")
    model.recommend(["u1", "nobody"], n=3)
    model.similar_items("i1", n=2)


MODELS: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "classifier": (classifier, ask_classifier),
    "language-model": (language_model, ask_language_model),
    "recommender": (recommender, ask_recommender),
}


def replaced(value: Any, rng: np.random.Generator) -> Any:
    """A nested value with one of its parts replaced, left out or repeated."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = list(value)[int(rng.integers(len(value)))]
        if rng.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: replaced(value[key], rng)}
    if isinstance(value, (list, tuple)) and value and rng.random() < 0.8:
        place = int(rng.integers(len(value)))
        items = list(value)
        items[place : place + 1] = [replaced(items[place], rng)] * int(rng.integers(0, 3))
        return type(value)(items)
    if isinstance(value, torch.Tensor) and rng.random() < 0.7:
        return odd_array(value.numpy(), rng, torch.from_numpy)
    if isinstance(value, np.ndarray) and rng.random() < 0.7:
        return odd_array(value, rng, lambda array: array)
    return ODD[int(rng.integers(len(ODD)))]


def odd_array(array: Any, rng: np.random.Generator, wrap: Callable[[Any], Any]) -> Any:
    """An array of another shape, another type, or with an odd value in it."""
    other = array.copy()
    if array.dtype.kind in "if" and array.size and rng.random() < 0.5:
        whole = array.dtype.kind == "i"
        values = [0, -1, np.iinfo(array.dtype).max] if whole else [0, -1, np.nan, np.inf, 1e38]
        other.reshape(-1)[int(rng.integers(array.size))] = values[int(rng.integers(len(values)))]
        return wrap(other)
    if rng.random() < 0.5 and array.dtype.kind in "if":
        return wrap(other.astype([np.int8, np.int64, np.float64][int(rng.integers(3))]))
    return wrap(other[: max(0, len(other) - 1)] if other.ndim else other)


def damage(folder: Path, rng: np.random.Generator) -> None:
    """Damages one of a model's files: its bytes, or what it says."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    path = files[int(rng.integers(len(files)))]
    if rng.random() < 0.3:
        data = bytearray(path.read_bytes())
        place = int(rng.integers(len(data)))
        data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(data[: place if rng.random() < 0.3 else len(data)]))
    elif path.suffix == ".json":
        about = json.loads(path.read_text())
        about.pop("digest", None)  # a careful forger's
        for _ in range(int(rng.integers(1, 3))):
            about = replaced(about, rng)
        path.write_text(json.dumps(about))
    else:
        kind = json.loads(json.loads(_header(path))["__metadata__"]["sif"])["kind"]
        state = checkpoint.load(path, kind)
        for _ in range(int(rng.integers(1, 3))):
            state = replaced(state, rng)
        checkpoint.save(path, state, kind)


def _header(path: Path) -> bytes:
    data = path.read_bytes()
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


@pytest.mark.parametrize("kind", MODELS)
def test_damaged_models_are_refused_or_answer(kind: str, trials: int, tmp_path: Path) -> None:
    make, ask = MODELS[kind]
    make(tmp_path / "whole")
    ask(tmp_path / "whole")
    refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(trials):
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", folder)
        damage(folder, np.random.default_rng(seed))
        start = time.perf_counter()
        try:
            ask(folder)
        except SifError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) <= LONGEST, (seed, str(error))
        except Exception as error:  # whatever it is, the trial is named
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        assert time.perf_counter() - start < 5, seed
    assert trials // 4 < refused  # it damages
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1_000_000, f"{grown} kB"
