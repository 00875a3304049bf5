"""Many jobs at once against one MLflow server, whose store is PostgreSQL: is anything lost?

Starts PostgreSQL and `mlflow server`, then jobs of generated data, all at the same time. Afterwards
it asks the server for what each job's own `metrics.jsonl` has: the run and its stages, finished,
with every step of every metric.

    python benchmarks/tracking_load.py --jobs 20
    python benchmarks/tracking_load.py --jobs 20 --records

`--records` leaves the jobs out and sends what jobs send, as fast as it goes: settings, metrics of
stages, files.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.request import urlopen

import postgres_server

SETTINGS = (
    "data.planted.users=40", "data.planted.items=30", "data.planted.density=0.3",
    "search.epochs=6", "search.dimension=4", "search.arch_every=1", "train.epochs=10",
    "train.dimension=4", "train.l2=[2]", "baselines=[popularity,ease]", "threads=1",
    "search.stages=[encoding,operation,weighting]", "serve=searched",
)  # fmt: skip
EXPERIMENT = "tracking-load"
PARENT = "mlflow.parentRunId"
_STAGES, _STEPS, _METRICS = 6, 40, 10
_PATIENCE = 600.0
"""Seconds in which the server makes its tables and answers."""


@contextmanager
def tracking_server(folder: Path, store: str, workers: int) -> Iterator[str]:
    """The address of an MLflow server on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store,
        "--artifacts-destination", folder / "artifacts", "--host", "127.0.0.1",
        "--port", str(port), "--workers", str(workers),
    ]  # fmt: skip
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(address, server, folder / "server.log")
            yield address
        finally:
            server.terminate()
            server.wait()


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            with urlopen(f"{address}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"the MLflow server did not start: {log.read_text()[-2000:]}")


def job(seed: int, folder: Path, address: str, begin: Any) -> None:
    """One job, in a process that has torch already; it begins when all are there.

    It draws no figures, which takes longer than all the rest of so small a job.
    """
    from sif.cli.main import main as command

    mock.patch("sif.tasks.ending.save_and_draw", lambda *_: []).start()
    os.chdir(folder)
    with (folder / f"job-{seed}.log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        begin.wait()
        code = command([
            "--task", "cf", "--seed", str(seed), "--output-dir", f"run-{seed}", "--quiet",
            "--tracking-uri", address, "--set", f"tracking.experiment={EXPERIMENT}", *SETTINGS,
        ])  # fmt: skip
    raise SystemExit(code)


def records(seed: int, folder: Path, address: str, begin: Any) -> None:
    """What one job sends, by the trackers of jobs; it begins when all are there."""
    from sif.config import TrackingConfig
    from sif.tracking.open import open_tracker

    run = folder / f"run-{seed}"
    run.mkdir()
    with (folder / f"job-{seed}.log").open("w") as log:
        os.dup2(log.fileno(), 2)
        begin.wait()
        settings = TrackingConfig(uri=address, experiment=EXPERIMENT, required=True)
        tracker = open_tracker(run, settings, run.name)
        tracker.log_params({"seed": seed, "train": {f"setting{n}": n for n in range(150)}})
        for stage in range(_STAGES):
            child = tracker.child(f"stage-{stage}")
            child.set_tags({"stage": str(stage)})
            for step in range(_STEPS):
                child.log({f"metric@{n}": seed + step / (n + 1) for n in range(_METRICS)}, step)
            child.close()
        tracker.log({"seconds": 1.0}, 0)
        file = run / "report.md"
        file.write_text(f"report of {seed}")
        tracker.log_artifact(file)
        tracker.close()


def logged(run: Path) -> Counter[str]:
    """Of each metric by its name in MLflow, the steps that a job has logged, over all stages."""
    from sif.tracking import metric_name

    counts: Counter[str] = Counter()
    for text in (run / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        counts.update(metric_name(name) for name in line.keys() - {"stage", "step"})
    return counts


def received(client: Any, runs: list[Any]) -> Counter[str]:
    """The same of what a server has under runs."""
    counts: Counter[str] = Counter()
    for run in runs:
        for name in run.data.metrics:
            counts[name] += len(client.get_metric_history(run.info.run_id, name))
    return counts


def family(run: Any, below: dict[str | None, list[Any]]) -> list[Any]:
    """A run, and all that are nested in it."""
    return [run, *(one for child in below.get(run.info.run_id, []) for one in family(child, below))]


def check(folder: Path, address: str, jobs: int) -> list[str]:
    """What was lost, one line each."""
    import mlflow

    client = mlflow.MlflowClient(address)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return ["no run at all"]
    runs, token = [], None
    while token is not None or not runs:
        page = client.search_runs([experiment.experiment_id], max_results=500, page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    below: dict[str | None, list[Any]] = {}
    for run in runs:
        below.setdefault(run.data.tags.get(PARENT), []).append(run)
    tops = {run.data.params["seed"]: run for run in below.get(None, [])}
    lost = [
        f"{run.info.run_name}: {run.info.status}" for run in runs if run.info.status != "FINISHED"
    ]
    for seed in range(jobs):
        top = tops.get(str(seed))
        if top is None:
            lost.append(f"run-{seed}: no run")
            continue
        here, there = logged(folder / f"run-{seed}"), received(client, family(top, below))
        short = {name: (n, there[name]) for name, n in here.items() if there[name] < n}
        if short:
            lost.append(f"run-{seed}: logged and received: {short}")
    print(f"{len(tops)} jobs and {len(runs) - len(tops)} stages in the store")
    return lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2, help="processes of the MLflow server")
    parser.add_argument("--records", action="store_true", help="send what jobs send, alone")
    options = parser.parse_args()
    import torch  # noqa: F401 - once, before the jobs branch off

    import sif.tasks  # noqa: F401

    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as name, postgres_server.server() as postgres:
        folder = Path(name)
        store = postgres.replace("://", "+psycopg2://", 1)  # SQLAlchemy's own choice is psycopg 3
        with tracking_server(folder, store, options.workers) as address:
            begin = context.Barrier(options.jobs)
            jobs = [
                context.Process(
                    target=records if options.records else job, args=(seed, folder, address, begin)
                )
                for seed in range(options.jobs)
            ]
            start = time.perf_counter()
            for one in jobs:
                one.start()
            for one in jobs:
                one.join()
            seconds = time.perf_counter() - start
            failed = [
                f"job {n}: exit code {one.exitcode}" for n, one in enumerate(jobs) if one.exitcode
            ]
            warned = [
                f"job {seed}: {line}"
                for seed in range(options.jobs)
                for line in (folder / f"job-{seed}.log").read_text().splitlines()
                if line.startswith(("warning", "error"))
            ]
            lost = [*failed, *warned, *check(folder, address, options.jobs)]
    print(f"{options.jobs} jobs at once in {seconds:.0f} s; lost: {len(lost)}")
    print(*lost, sep="\n")
    raise SystemExit(bool(lost))


if __name__ == "__main__":
    main()
