"""One job on a real Ray of two cores: its baselines and candidates, lost workers, Ctrl-C.

All are slow: Ray takes seconds to start, and a worker as long to join.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sif.baselines import BASELINES
from sif.errors import DataError

Until = Callable[..., None]
SMALL = (
    "search.stages=[encoding,operation,weighting]", "data.planted.users=40",
    "data.planted.items=30", "data.planted.density=0.3", "search.epochs=5", "search.dimension=4",
    "search.candidate_epochs=1", "train.epochs=4", "train.dimension=4", "train.l2=[2]",
    "threads=1", "budget=null", "controls=[fixed-multiply]",
)  # fmt: skip
JOB = ("run", "--task", "cf", "--no-tracking", "--quiet")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'sif[ray]'"),
    pytest.mark.usefixtures("without_figures"),
]


@pytest.fixture(scope="module")
def two_cores(in_environment: None) -> Iterator[None]:
    """A Ray of two cores, to which this process is connected."""
    import ray

    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
        configure_logging=False,
    )  # fmt: skip
    yield
    assert ray.is_initialized()  # jobs leave a connection that is not theirs
    ray.shutdown()


def numbers(run: Path) -> dict[str, Any]:
    """Metrics of the job, of its baselines and its search."""
    document = json.loads((run / "metrics.json").read_text())
    stages = sorted(path.name for path in (run / "checkpoint").iterdir())
    names = ("test", "valid", "verdict", "genotype", "left_out")
    models = {
        name: {key: value for key, value in one.items() if "@" in key}
        for name, one in document["baselines"].items()
    }
    return {name: document.get(name) for name in names} | {"models": models, "stages": stages}


def table(printed: str) -> list[list[str]]:
    """Rows of the table of models, without the seconds."""
    rows = [line.split() for line in printed.partition("\nvalid: ")[0].splitlines()[3:]]
    return [row[:-1] for row in rows]


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("method", ["random", "nsga2"])
def test_a_job_on_ray_is_the_job_of_one_process(
    method: str, tmp_path: Path, sif: Callable[..., Any]
) -> None:
    """All baselines, and candidates of a sampler."""
    pytest.importorskip("pymoo")
    printed = {}
    for name, how in (("local", ()), ("ray", ("--executor", "ray"))):
        done = sif(*JOB, "--method", method, "--output-dir", name, *how, "--set", *SMALL)
        assert (done.code, done.err) == (0, [])
        printed[name] = done.out
    assert numbers(tmp_path / "ray") == numbers(tmp_path / "local")
    assert table(printed["ray"]) == table(printed["local"])
    assert len(table(printed["ray"])) > 10
    logs = [(tmp_path / name / "log.txt").read_text() for name in ("ray", "local")]
    assert "its worker was lost" not in logs[0]
    assert len(logs[0].splitlines()) == len(logs[1].splitlines())


@pytest.mark.usefixtures("two_cores")
def test_a_killed_worker_is_told_and_a_baseline_that_fails_is_left_out(
    tmp_path: Path, sif: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nested functions travel by value: workers do not know this module. The plan measures here."""
    mark, fits, home = tmp_path / "killed", BASELINES["markov"].fit_grid, os.getpid()

    def killed_once(*arguments: Any) -> Any:
        if os.getpid() != home and not mark.exists():
            mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return fits(*arguments)

    def refuse(*_: Any) -> Any:
        raise DataError("ease: expected less, found more")

    monkeypatch.setitem(BASELINES, "ease", replace(BASELINES["ease"], fit_grid=refuse))
    words = ("--set", *SMALL, "baselines=[popularity,markov,ease]", "refit=none")
    assert sif(*JOB, "--output-dir", "local", *words).code == 0
    killing = replace(BASELINES["markov"], fit_grid=killed_once)
    monkeypatch.setitem(BASELINES, "markov", killing)
    assert sif(*JOB, "--output-dir", "ray", "--executor", "ray", *words).code == 0
    assert numbers(tmp_path / "ray") == numbers(tmp_path / "local")
    log = (tmp_path / "ray" / "log.txt").read_text().splitlines()
    assert mark.read_text() != str(os.getpid())
    (lost,) = (line for line in log if "its worker was lost" in line)
    assert lost.startswith("baseline markov: its worker was lost (")
    assert lost.endswith("); it runs again")
    line = "left out: baselines ease: ease: expected less, found more"
    assert line in log
    assert line in (tmp_path / "local" / "log.txt").read_text().splitlines()


SLOW = """
import os, pathlib, sys, time
from dataclasses import replace
from sif.baselines import BASELINES
from sif.cli.start import start

begun, home = pathlib.Path(sys.argv.pop(1)), os.getpid()
fits = BASELINES["markov"].fit_grid

def stay(*arguments):
    if os.getpid() == home:  # the plan measures it
        return fits(*arguments)
    begun.write_text(str(os.getpid()))
    time.sleep(600)

BASELINES["markov"] = replace(BASELINES["markov"], fit_grid=stay)
sys.exit(start())
"""
"""The command line, with a baseline that does not end."""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_of_a_job_that_is_ended(
    number: signal.Signals, tmp_path: Path, environment: dict[str, str], until: Until,
    marked: Callable[[str], list[str]], sif: Callable[..., Any],
) -> None:  # fmt: skip
    """As Ctrl-C of a terminal, which reaches Ray's own processes too; the job can be resumed."""
    mark, begun = f"SIF_TEST_{secrets.token_hex(8)}", tmp_path / "begun"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    words = [*JOB, "--output-dir", "run", "--executor", "ray", "--set", *SMALL,
             "baselines=[markov,popularity]"]  # fmt: skip
    job = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(begun), *words], cwd=tmp_path,
        env=kept | environment | {mark: "1"}, start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        until(lambda: begun.exists() or job.poll() is not None)
        assert job.poll() is None
        assert len(marked(mark)) > 3
        if number == signal.SIGINT:
            os.killpg(job.pid, number)
        else:
            job.send_signal(number)
        told = job.communicate(timeout=240)[1].decode().splitlines()
    finally:
        job.kill()
    if number == signal.SIGINT:
        assert job.returncode == 130
        assert told[-1].startswith("interrupted: go on with: ") and told[-1].endswith("run")
    until(lambda: not marked(mark), f"still there: {marked(mark)}")
    assert sif("--resume", "run", "--quiet").code == 0
    assert (tmp_path / "run" / "metrics.json").exists()


def test_a_job_without_a_place_here_is_refused_before_anything_is_written(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    words = [*JOB, "--output-dir", "run", "--executor", "ray", "--memory", "900000GB"]
    done = subprocess.run(
        [sys.executable, "-m", "sif", *words, "--set", *SMALL], cwd=tmp_path, check=False,
        env=kept | environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: executor ray: expected 1 core(s), 0 GPU")
    assert list(tmp_path.iterdir()) == []
