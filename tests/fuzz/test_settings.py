"""Damaged YAML and odd `--set` values: one clear line, at once.

A thousand of each:  SIF_FUZZ_TRIALS=1000 pytest tests/fuzz/test_settings.py
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sif.config.files import shipped
from sif.config.loading import config_model, dotted
from sif.errors import SifError
from sif.problems.configuration import load_job_config

LONGEST = 300
TASKS = ("cf", "cnn", "rnn")
PIECES = (
    "{}", "[]", "[[", "]]", "{a: b}", "? [x]", ": ", "- ", "&a ", "*a", "<<: *a", "!!int ''",
    "!!map x", "!!python/name:os.system", "~", "null", "yes", "1e309", "-1", "0", "1_000", "1:30",
    "2024-02-31", "2024-01-01", ".nan", ".inf", "-.inf", "'", '"', "|", ">", "%", "@", "`", "\t",
    "\x00", "\x07", "\ud7ff", "\u2028", "ü", "9" * 400, "x" * 400, "\n", "\n  ", "0x_", "0b", "=",
    "10", "10.5", "100000000", "1e9", "[1, 2, 3]", "[a, [b, [c]]]", "{1: 2}", "true", "''",
)  # fmt: skip


def damaged(text: str, rng: np.random.Generator) -> str:
    """A text with a few pieces put in, cut out or repeated."""
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(text) + 1))
        end = min(len(text), place + int(rng.integers(0, 12)))
        piece = PIECES[int(rng.integers(len(PIECES)))] * int(rng.choice([1, 1, 1, 2, 30, 500]))
        text = text[:place] + piece + text[end if rng.random() < 0.5 else place :]
    return text


def check(trial: str, **given: Any) -> None:
    """Loads settings; what is wrong with them is one line of at most 300 characters, at once."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_job_config(**given)
    except SifError as error:
        assert "\n" not in str(error), (trial, str(error))
        assert len(str(error)) <= LONGEST, (trial, str(error))
    except Exception as error:  # whatever it is, the trial is named
        raise AssertionError(f"{trial}: {type(error).__name__}: {error}") from error
    assert time.perf_counter() - start < 5, trial


def test_damaged_files_are_refused_in_one_line(trials: int, tmp_path: Path) -> None:
    presets = sorted(shipped("configs").rglob("*.yaml"))
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        preset = presets[int(rng.integers(len(presets)))]
        file = tmp_path / "mine.yaml"
        text = damaged(preset.read_text(encoding="utf-8"), rng)
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        check(f"seed {seed}: {text[:200]!r}", task=preset.parent.name, file=file)


def test_odd_values_are_refused_in_one_line(trials: int) -> None:
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        task = TASKS[int(rng.integers(len(TASKS)))]
        keys = sorted(dotted(config_model(task)().model_dump(mode="json")))
        key = keys[int(rng.integers(len(keys)))]
        if rng.random() < 0.1:
            key = damaged(key, rng)
        item = f"{key}={damaged('', rng)}"
        check(f"seed {seed}: {item[:200]!r}", task=task, sets=[item])


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip(
            "abcdefghijkl", "bcdefghijklm", strict=True)),
        "a: &a {k: 1}\n" + "".join(f"{b}: &{b}\n  <<: [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip(
            "abcdefghijkl", "bcdefghijklm", strict=True)),
        "[" * 5000, "{a: " * 5000, "data: &x [*x]", "train: &x {y: *x}", "x" * 1_000_000,
    ],
    ids=["aliases", "merges", "brackets", "braces", "itself", "itself-deeper", "long"],
)  # fmt: skip
def test_bombs_are_refused_at_once(text: str, tmp_path: Path) -> None:
    file = tmp_path / "bomb.yaml"
    file.write_text(text)
    with pytest.raises(SifError, match=str(file)):
        load_job_config("cf", file=file)
    check("bomb", task="cf", file=file)
