"""Ctrl-C at any moment is one line and exit code 130, however the command line was started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WAYS = {
    "run.py": [str(ROOT / "run.py")],
    "python -m sif": ["-m", "sif", "run"],
    "sif": ["-c", "import sys; from sif.cli.start import start; sys.exit(start())", "run"],
}


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Processes take the signal also where a shell has started this one in the background."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def begun(way: str, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *WAYS[way], *arguments], cwd=cwd, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.6, 2.5])
def test_an_interruption_is_one_line(way: str, seconds: float, tmp_path: Path) -> None:
    """Slow: the imports that are interrupted take two seconds."""
    sets = ("search.epochs=5000", "train.epochs=5000", "threads=1")
    job = begun(way, "--task", "cf", "--no-tracking", "--quiet", "--set", *sets, cwd=tmp_path)
    time.sleep(seconds)
    job.send_signal(signal.SIGINT)
    out, err = job.communicate()
    assert (job.returncode, out) == (130, "")
    (line,) = err.splitlines()
    assert line.startswith("interrupted")


@pytest.mark.slow
def test_an_interrupted_job_says_how_to_go_on(tmp_path: Path) -> None:
    """Slow: waits until a job has begun."""
    sets = ("search.epochs=5000", "train.epochs=5000", "threads=1")
    job = begun(
        "run.py", "--task", "cf", "--no-tracking", "--quiet", "--output-dir", "run", "--set", *sets,
        cwd=tmp_path,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not (tmp_path / "run" / "log.txt").exists() and time.monotonic() < until:
        time.sleep(0.05)
    job.send_signal(signal.SIGINT)
    out, err = job.communicate()
    assert (job.returncode, out) == (130, "")
    assert err == "interrupted: go on with: python run.py --resume run\n"


def test_an_ignored_signal_stays_ignored() -> None:
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from sif.cli import interruption; interruption.Interruption()\n"
        "assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
