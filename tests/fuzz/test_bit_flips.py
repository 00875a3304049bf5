"""One flipped bit anywhere in a run folder: the resumed job names it, or ends as if it were whole.

All 200 flips:  SIF_FUZZ_TRIALS=200 pytest tests/fuzz/test_bit_flips.py
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sif
from sif.errors import SifError

SETTINGS: dict[str, Any] = {
    "data": {"planted": {"users": 30, "items": 20, "density": 0.3}},
    "search": {"epochs": 4, "dimension": 4, "arch_every": 1},
    "train": {"epochs": 4, "dimension": 4, "l2": [2.0]},
    "baselines": ["popularity"], "threads": 1, "tracking": {"enabled": False},
    "checkpoint_seconds": 0,
}  # fmt: skip
RESULTS = ("genotype.json", "metrics.json", "model")


def outcome(run: Path) -> tuple[Any, ...]:
    """All that a run is asked for afterwards, without times."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if "seconds" not in k and "peak" not in k}
        return [plain(one) for one in value] if isinstance(value, list) else value

    metrics = plain(json.loads((run / "metrics.json").read_text()))
    answers = sif.Recommender.load(run).recommend(["u0001", "u0007"], n=5)
    return metrics, (run / "genotype.json").read_text(), answers.to_dict("list")


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A run that was killed just before it would have written its results, and what they are."""
    folder = tmp_path_factory.mktemp("flips") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sif.tasks.ending.save_and_draw", lambda *_: [])
        sif.run_job(sif.CFConfig(**SETTINGS, output_dir=folder))
    expected = outcome(folder)
    for name in RESULTS:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder, expected


def test_a_flipped_bit_is_named_or_harmless(
    unfinished: tuple[Path, Any], trials: int, tmp_path: Path,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("sif.tasks.ending.save_and_draw", lambda *_: [])
    source, expected = unfinished
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    silent = []
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        run = tmp_path / f"run{seed}"
        shutil.copytree(source, run)
        name = files[int(rng.integers(len(files)))]
        data = bytearray((run / name).read_bytes())
        place, bit = int(rng.integers(len(data))), int(rng.integers(8))
        data[place] ^= 1 << bit
        (run / name).write_bytes(bytes(data))
        caplog.clear()
        try:
            sif.run_job(sif.CFConfig(output_dir=run), resume=True)
        except SifError as error:
            assert "\n" not in str(error) and name.name in str(error), (seed, name, error)
            continue
        if outcome(run) != expected:
            silent.append((seed, str(name), place, bit, caplog.messages))
        shutil.rmtree(run)
    assert not silent


def test_a_damaged_stage_and_those_after_it_are_done_again(
    unfinished: tuple[Path, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("sif.tasks.ending.save_and_draw", lambda *_: [])
    source, expected = unfinished
    logged = (source / "metrics.jsonl").read_text().splitlines()
    for name in ("begin", "search", "test-searched"):
        run = tmp_path / name
        shutil.copytree(source, run)
        path = run / "checkpoint" / f"{name}.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
        caplog.clear()
        sif.run_job(sif.CFConfig(output_dir=run), resume=True)
        assert f"{path}: " in caplog.text and "its stage is done again" in caplog.text
        assert outcome(run) == expected
        steps = [(line["stage"], line["step"]) for line in map(json.loads, logged)]
        again = (run / "metrics.jsonl").read_text().splitlines()
        assert [(line["stage"], line["step"]) for line in map(json.loads, again)] == steps
