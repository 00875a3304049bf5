"""Jobs that are killed, resumed, and refused where they are not the same."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.cli import main as cli
from sif.utils import checkpoint
from tests.tasks.cf.conftest import (
    Command,
    logged,
    metrics,
    same_bits,
    weights_of,
    without_times,
)


class Nursery:
    """Runs the command line in processes that can be killed.

    They are forked from a server that has imported everything, which saves seconds for each.
    """

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["sif.tasks", "matplotlib.figure", "torch._dynamo"])

    def start(self, arguments: list[str]) -> Any:
        process = self._context.Process(target=cli.main, args=(arguments,))
        process.start()
        return process

    def finish(self, arguments: list[str]) -> None:
        process = self.start(arguments)
        process.join(300)
        assert process.exitcode == 0

    def kill(self, arguments: list[str], run: Path, line: int, delay: float) -> bool:
        """Kills the job when its log has that many lines, and then some; False if too late."""
        process = self.start(arguments)
        log = run / "metrics.jsonl"
        while process.is_alive():
            if log.exists() and log.read_bytes().count(b"\n") >= line:
                time.sleep(delay)
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.0005)
        process.join(300)
        return bool(process.exitcode == -signal.SIGKILL)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs processes that can be forked and killed")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            patch.setenv(name, "1")
        for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
            patch.delenv(name)  # who is killed reports nothing
        yield Nursery()


@pytest.fixture(scope="module")
def killable(tiny: list[str]) -> list[str]:
    """A job saved after every epoch, with batches and negatives drawn at random."""
    longer = ["checkpoint_seconds=0", "search.epochs=40", "search.batch_size=100",
              "train.batch_size=100", "loss.name=bpr", "train.epochs=8", "train.patience=40",
              "train.evaluate_every=1", "train.l2=[1,3]", "train.halving_fraction=0.5",
              "methods.nasp.arch_start=0.1"]  # fmt: skip
    return ["--task", "cf", "--no-tracking", "--quiet", *tiny, *longer]


@pytest.fixture(scope="module")
def uninterrupted(
    nursery: Nursery, killable: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    nursery.finish([*killable, f"output_dir={run}"])
    return run


def assert_same_run(run: Path, other: Path) -> None:
    assert (run / "genotype.json").read_bytes() == (other / "genotype.json").read_bytes()
    assert without_times(metrics(run)) == without_times(metrics(other))
    assert same_bits(weights_of(run), weights_of(other))
    lines = logged(run)
    assert set(Counter((line["stage"], line["step"]) for line in lines).values()) == {1}
    assert without_times(lines) == without_times(logged(other))
    assert {p.name for p in (run / "plots").iterdir()} == {
        p.name for p in (other / "plots").iterdir()
    }
    left = {p.name for p in (run / "checkpoint").iterdir()}
    assert left == {p.name for p in (other / "checkpoint").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "seconds"), [(0, 0), (1, 0), (2, 0.01), (3, 9)])
def test_a_killed_job_ends_as_if_nothing_had_happened(
    seed: int,
    seconds: float,
    nursery: Nursery,
    killable: list[str],
    uninterrupted: Path,
    tmp_path: Path,
) -> None:
    """Slow: each job is killed three times, at twelve moments in all, and then finished."""
    rng = np.random.default_rng(seed)
    run = tmp_path / "run"
    total = len(logged(uninterrupted))
    searched = max(n for n, line in enumerate(logged(uninterrupted)) if line["stage"] == "search")
    moments = [rng.integers(1, searched), rng.integers(searched, total), rng.integers(1, total)]
    arguments = [*killable, f"output_dir={run}", f"checkpoint_seconds={seconds}"]
    kills = 0
    for line in sorted(map(int, moments)):
        kills += nursery.kill(arguments, run, line, float(rng.uniform(0, 0.02)))
        arguments = ["--resume", str(run), "--quiet"]
    assert kills == 3
    nursery.finish(arguments)
    assert_same_run(run, uninterrupted)


@pytest.mark.slow
def test_a_job_killed_before_its_first_step_starts_over(
    nursery: Nursery, killable: list[str], uninterrupted: Path, tmp_path: Path
) -> None:
    """Slow: two whole jobs in processes of their own, long enough to be killed in the middle."""
    run = tmp_path / "run"
    assert nursery.kill([*killable, f"output_dir={run}"], run, 0, 0.0)
    nursery.finish(["--resume", str(run), "--quiet"])
    assert_same_run(run, uninterrupted)


@pytest.mark.usefixtures("without_figures")
def test_resuming_a_finished_run_changes_nothing_and_adds_its_time(
    finished: Path, sif: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = metrics(run)
    assert sif("--resume", run).code == 0
    assert without_times(metrics(run)) == without_times(before)
    assert without_times(logged(run)) == without_times(logged(finished))
    last = max(float(s["seconds"]) for s in saved_stages(run))
    assert last < metrics(run)["total_seconds"] < before["total_seconds"] + 60
    for path in (run / "checkpoint").iterdir():
        assert path.read_bytes() == (finished / "checkpoint" / path.name).read_bytes()


def saved_stages(run: Path) -> list[dict[str, Any]]:
    return [checkpoint.load(path, "stage") for path in (run / "checkpoint").iterdir()]


@pytest.mark.usefixtures("without_figures")
def test_total_seconds_add_up_over_sittings(
    sif: Command, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        time.sleep(0.5)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sif.baselines.base.fit_best", interrupt)
        done = sif("--task", "cf", "--no-tracking", "--output-dir", "run", *tiny)
    assert done.code == 130
    assert done.err[-1].endswith("--resume run")
    first = max(float(state["seconds"]) for state in saved_stages(Path("run")))
    start = time.perf_counter()
    assert sif("--resume", "run").code == 0
    second = time.perf_counter() - start
    assert first < metrics(Path("run"))["total_seconds"] < first + second


@pytest.mark.usefixtures("without_figures")
def test_a_run_is_not_resumed_with_other_settings_or_data(
    sif: Command, tiny: list[str], table: pd.DataFrame
) -> None:
    table.to_csv("orders.csv", index=False)
    job = ["--dataset", "orders.csv", "--output-dir", "run", "--no-tracking"]
    assert sif("--task", "cf", *job, *tiny).code == 0
    before = {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()}
    done = sif("--resume", "run", "--set", "train.epochs=11")
    assert done.code == 2
    (line,) = done.err
    assert line.startswith("error: run: ") and "other settings (train.epochs: 11 or 10)" in line
    table.iloc[1:].to_csv("orders.csv", index=False)
    done = sif("--resume", "run")
    assert done.code == 2
    (line,) = done.err
    assert line.startswith("error: run: ") and "other data: expected split " in line
    assert {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()} == before
