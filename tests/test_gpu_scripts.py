"""The scripts for a GPU, tried without one: on a pretended GPU, or on the CPU at a toy's size."""

from __future__ import annotations

import csv
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from sif.testing import Accelerator

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"
Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Imports a script by its name, as Python does for one that it runs."""
    folder = ROOT / "benchmarks" / "gpu"
    monkeypatch.syspath_prepend(str(folder))
    threads = torch.get_num_threads()
    yield importlib.import_module
    torch.set_num_threads(threads)
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").parent == folder:
            del sys.modules[name]


def shell(python: Path, *parts: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "PYTHON": str(python)}
    return subprocess.run(
        [str(SCRIPT), *parts], capture_output=True, text=True, check=False, env=settings
    )


@pytest.mark.parametrize(
    ("code", "parts", "run", "status"),
    [
        (0, (), ["check", "speed", "cifar"], 0),
        (0, ("speed",), ["speed"], 0),
        (1, ("check", "speed"), ["check", "speed"], 1),  # goes on with the next part
        (2, ("check", "speed"), ["check"], 2),  # there is no GPU
    ],
)
def test_parts_run_in_their_order(
    code: int, parts: tuple[str, ...], run: list[str], status: int, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$1"\nexit {code}\n')
    python.chmod(0o755)
    found = shell(python, *parts)
    assert found.stdout.split() == [f"benchmarks/gpu/{name}.py" for name in run]
    assert found.returncode == status


def test_an_unknown_part_is_refused() -> None:
    found = shell(Path("false"), "check", "sped")
    assert (found.returncode, found.stderr) == (2, "expected check, speed or cifar, found sped\n")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(
    load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SIF_GPU_DEVICE", raising=False)
    with pytest.raises(SystemExit) as caught:
        load("machine").device()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "benchmarks/gpu.sh: no GPU here, nothing measured\n"


SLOW = ("cf-ranking", "cf-sif", "cnn", "rnn", "order-cell")


@pytest.mark.parametrize(
    "case",
    [*(pytest.param(name, marks=pytest.mark.slow) for name in SLOW), "cf-rating", "order-scales"],
)
def test_a_gpu_is_compared_with_the_cpu(
    case: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of `SLOW` take as long: searches and trainings on both."""
    check = load("check")
    monkeypatch.setattr(check, "is_toy", lambda name: True)
    with Accelerator() as gpu:
        rows = check.compared(check.CASES[case], "cuda")
        assert gpu.usage().made > 0
    assert [name for name, *_ in rows] == list(check.ALLOWED)
    for _, ours, theirs in rows:
        assert ours and ours == theirs  # the same kernels


def test_speeds_are_measured(load: Load) -> None:
    speed = load("speed")
    for mode, steps in (("eager", ["training"]), ("search", ["weight", "architecture"])):
        found = speed.measured("cf-rating", mode, "cpu")
        assert [row["step"] for row in found] == steps
        assert all(row["steps_per_second"] > 0 < row["peak_mb"] for row in found)


@pytest.mark.slow
def test_a_search_on_cifar_is_tried(
    load: Load, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow: a search and a training; and the archive is read."""
    monkeypatch.setenv("SIF_DATA_DIR", str(data_dir))
    monkeypatch.setenv("SIF_GPU_DEVICE", "cpu")
    monkeypatch.setenv("SIF_GPU_OUTPUT", str(tmp_path))
    cifar = load("cifar")
    if not (data_dir / cifar.ARCHIVE).is_file():
        pytest.skip(f"{data_dir} has no {cifar.ARCHIVE}")
    assert cifar.main() == 0
    (row,) = csv.DictReader((tmp_path / "cifar.csv").open())
    assert 0 <= float(row["test_error"]) <= 100
    assert row["cells"].startswith("normal: 2 = ")


def test_without_data_the_search_on_cifar_says_so(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIF_DATA_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as caught:
        load("cifar").configured("cpu")
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
