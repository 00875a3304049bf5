"""Jobs by several processes, as `torchrun` starts them: results, kills, resumes, bad input."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
JOB = (
    "--task", "cf", "--no-tracking", "--quiet", "--set", "threads=1",
    "data.planted.users=60", "data.planted.items=40", "data.planted.density=0.4",
    "search.epochs=4", "search.dimension=4", "search.arch_every=2", "train.epochs=40",
    "train.dimension=4", "train.l2=[1,4]", "baselines=[popularity,ease]", "budget=null",
    "checkpoint_seconds=0",
)  # fmt: skip
CLOSED = JOB
"""Its closed form spares the search."""
FUNCTIONS = (*JOB, "search.stages=[encoding,operation,weighting]", "train.block_pairs=200")
PATIENCE = 240.0
Start = Callable[..., "Running"]
Alone = Callable[[Sequence[str]], dict[str, Any]]
pytestmark = pytest.mark.slow


@dataclass
class Running:
    """Processes of one job."""

    store: Any
    processes: list[subprocess.Popen[str]]

    def ended(self) -> tuple[list[int], list[str]]:
        """Exit codes, and the lines on standard error of all."""
        lines: list[str] = []
        for one in self.processes:
            lines += one.communicate(timeout=PATIENCE)[1].splitlines()
        return [one.returncode for one in self.processes], lines


@pytest.fixture(scope="session")
def start(meeting: Callable[[int], tuple[Any, dict[str, str]]]) -> Start:
    """Starts processes of one job, each with its command; one command stands for all."""

    def begin(count: int, *commands: Sequence[str]) -> Running:
        store, place = meeting(count)
        found = []
        for number in range(count):
            words = [sys.executable, str(ROOT / "run.py"), *commands[number % len(commands)]]
            own = {**os.environ, **place, "RANK": str(number), "PYTHONPATH": str(ROOT)}
            pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            found.append(subprocess.Popen(words, env=own, text=True, **pipes))
        return Running(store, found)

    return begin


def result(folder: Path) -> dict[str, Any]:
    """What a job found, without its seconds."""
    document = json.loads((folder / "metrics.json").read_text())
    keys = ("test", "valid", "genotype", "comparison", "served")
    return {key: document.get(key) for key in keys}


def near(found: Any, expected: Any, place: str = "") -> None:
    """Asserts that documents are equal but for rounding."""
    assert type(found) is type(expected), place
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key in expected:
            if "seconds" not in key:
                near(found[key], expected[key], f"{place}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for k, (one, other) in enumerate(zip(found, expected, strict=True)):
            near(one, other, f"{place}[{k}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4), place
    else:
        assert found == expected, place


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, start: Start) -> Alone:
    """What a job finds in one process."""

    @functools.cache
    def found(job: Sequence[str]) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("alone") / "run"
        codes, lines = start(1, [*job, "--output-dir", str(folder)]).ended()
        assert codes == [0], lines
        files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))
        return {**result(folder), "files": files}

    return found


@pytest.mark.parametrize(("job", "count"), [(CLOSED, 3), (FUNCTIONS, 2)])
def test_torchrun_runs_the_job_of_one_process(
    job: Sequence[str], count: int, alone: Alone, tmp_path: Path
) -> None:
    """By `torchrun` itself; as many lines as one process prints, and the same files."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command += [str(count), str(ROOT / "run.py"), *job, "--output-dir", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("verdict:") == 1
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))
    near({**result(folder), "files": files}, alone(job))
    assert "plots/test.png" in files
    assert "plots/decays.png" not in files  # no model in order is served


@pytest.mark.skipif(sys.platform != "linux", reason="needs signals of Linux")
@pytest.mark.parametrize(("after", "killed"), [("fixed*", 1), ("search*", 0)])
def test_a_killed_process_ends_all_and_any_number_resumes(
    after: str, killed: int, alone: Alone, start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    job = start(2, [*FUNCTIONS, "--output-dir", str(folder)])
    running = job.processes
    until(
        lambda: (
            any((folder / "checkpoint").glob(f"{after}.safetensors"))
            or running[0].poll() is not None
        )
    )
    assert running[0].poll() is None, running[0].communicate()[1]
    running[killed].send_signal(signal.SIGKILL)
    codes, lines = job.ended()
    assert codes == ([-signal.SIGKILL, 2] if killed == 0 else [2, -signal.SIGKILL])
    told = f"error: torchrun: process {1 - killed} of 2 lost another one, which ended"
    assert lines == [f"{told}; the job can be resumed"]
    assert not (folder / "metrics.json").exists()
    count = 3 if after.startswith("fixed") else 1
    codes, lines = start(count, ["--quiet", "--resume", str(folder)]).ended()
    assert codes == [0] * count, lines
    near(result(folder), {k: v for k, v in alone(FUNCTIONS).items() if k != "files"})


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            ["--seed", "1"],
            "error: torchrun: expected the same in all processes, found in process 0 or 1: seed: ",
        ),
        (["--dataset", "nowhere.csv"], "error: process 1 of 2: "),
    ],
)
def test_processes_with_other_input_are_refused_in_a_line(
    changed: list[str], told: str, start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    same = [*JOB, "--output-dir", str(folder)]
    other = [*JOB[:2], *changed, *JOB[2:], "--output-dir", str(folder)]
    codes, lines = start(2, same, other).ended()
    assert codes == [2, 2]
    assert len(lines) == 1
    assert lines[0].startswith(told)
    assert not folder.exists()


def test_what_all_find_is_told_once(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [*JOB, "--output-dir", str(folder), "--dataset", "nowhere.csv"]
    codes, lines = start(2, words).ended()
    assert codes == [2, 2]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert "nowhere.csv" in lines[0]
    assert not folder.exists()


def test_commands_other_than_jobs_are_refused(
    sif: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    done = sif("bench", "--task", "cf")
    assert done.code == 2
    assert done.err == ["error: torchrun: expected a job, found the command bench"]
    done = sif("--resume", "nowhere")  # told by a machine where only this is wrong
    assert done.code == 2
    assert len(done.err) == 1
