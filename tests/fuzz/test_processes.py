"""Several processes on one folder: one works, the others say in one line why they do not.

Twenty times:  SIF_FUZZ_TRIALS=400 pytest tests/fuzz/test_processes.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
JOB = [
    "--task", "cf", "--no-tracking", "--quiet", "--set", "data.planted.users=30",
    "data.planted.items=20", "data.planted.density=0.3", "search.epochs=30", "search.dimension=4",
    "train.epochs=30", "train.dimension=4", "train.l2=[2]", "baselines=[popularity]", "threads=1",
    "checkpoint_seconds=0",
]  # fmt: skip


def outcomes(words: list[str], folder: Path) -> list[tuple[int, list[str]]]:
    """Exit codes and lines on stderr of three processes that start at once."""
    processes = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "run.py"), *words], cwd=folder, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for _ in range(3)
    ]  # fmt: skip
    return [(p.returncode, e.splitlines()) for p in processes for e in [p.communicate()[1]]]


def check_whole(run: Path) -> None:
    """Nothing is torn: every step is logged once, and the model is there."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert set(Counter((line["stage"], line["step"]) for line in lines).values()) == {1}
    assert json.loads((run / "metrics.json").read_text())["test"]
    assert (run / "model" / "recommender.safetensors").is_file()
    assert not list(run.rglob(".*"))


@pytest.mark.slow
def test_three_processes_begin_and_resume_one_run(trials: int, tmp_path: Path) -> None:
    """Slow: six processes a trial, at least one trial."""
    for trial in range(max(1, trials // 20)):
        run = tmp_path / f"run{trial}"
        ended = outcomes([*JOB, f"output_dir={run}"], tmp_path)
        assert sorted(code for code, _ in ended) == [0, 2, 2], ended
        assert all(len(lines) == 1 for code, lines in ended if code), ended
        check_whole(run)
        (run / "metrics.json").unlink()
        ended = outcomes(["--resume", str(run), "--quiet"], tmp_path)
        assert {code for code, _ in ended} <= {0, 2} and (0, []) in ended, ended
        assert all(len(lines) == 1 for code, lines in ended if code), ended
        check_whole(run)
