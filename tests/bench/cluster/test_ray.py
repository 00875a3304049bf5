"""Trials on a real Ray: two nodes on this machine, workers and nodes that are killed, Ctrl-C.

All are slow: Ray takes seconds to start, and a worker as long to join.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sif.bench import RayExecutor
from sif.bench.executor import Listener, Needs, Task
from sif.bench.processes import Work
from sif.bench.state import State
from sif.cli import main as cli

Until = Callable[..., None]
PATIENCE = 240.0  # seconds that a busy machine may take for anything here
SMALL = (
    "data.planted.users=40", "data.planted.items=30", "data.planted.density=0.3",
    "search.dimension=4", "search.arch_every=1", "train.epochs=10", "train.dimension=4",
    "train.l2=[2]",
)  # fmt: skip
TIMES = ["search_seconds", "search_wall_seconds", "train_seconds", "total_seconds",
         "peak_memory_mb"]  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'sif[ray]'"),
]


@pytest.fixture(scope="module")
def nodes(in_environment: None) -> Iterator[Any]:
    """A cluster of two nodes of one core each, to which this process is connected."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


TRIAL = """
import json, os, pathlib, signal, sys, time
run, what = pathlib.Path(sys.argv[1]), sys.argv[2]
again = (run / "config.yaml").exists()
run.mkdir(exist_ok=True)
(run / "config.yaml").touch()
if not again:
    (run / "node").write_text(os.environ["RAY_RAYLET_PID"])
    (run / "pid").write_text(str(os.getpid()))
print("at work", flush=True)
if what == "kill" and not again:
    os.kill(os.getppid(), signal.SIGKILL)
if what in ("kill", "stay") and not again:
    time.sleep(600)
if what == "meet":
    until = time.monotonic() + 200
    while len(list(run.parent.glob("*/config.yaml"))) < 2 and time.monotonic() < until:
        time.sleep(0.1)
(run / "metrics.json").write_text(json.dumps([os.environ["RAY_RAYLET_PID"], again]))
"""


def task(folder: Path, name: str, what: str, cores: int = 1) -> Task[str]:
    run = folder / "trials" / name
    command = [sys.executable, "-S", "-c", TRIAL, str(run), what]
    work = Work(name, command, folder / "trials" / f"{name}.log")
    return Task(work, run, Needs(cores=cores), lambda: command)


def ran(tasks: list[Task[str]]) -> tuple[dict[str, State], list[str]]:
    ended: dict[str, State] = {}
    lines: list[str] = []
    listener = Listener[str](lambda name, state: ended.update({name: state}), told=lines.append)
    RayExecutor().run(tasks, listener, None)
    return ended, lines


def result(folder: Path, name: str) -> tuple[str, bool]:
    node, again = json.loads((folder / "trials" / name / "metrics.json").read_text())
    return node, again


@pytest.mark.usefixtures("nodes")
def test_trials_go_to_both_nodes_and_their_output_comes_home(tmp_path: Path) -> None:
    """Each waits for the other, so that one node alone would never end."""
    ended, lines = ran([task(tmp_path, name, "meet") for name in "ab"])
    assert ended == {"a": State("finished"), "b": State("finished")}
    assert lines == []
    assert result(tmp_path, "a")[0] != result(tmp_path, "b")[0]
    assert (tmp_path / "trials" / "a.log").read_bytes() == b"at work\n"
    assert {p.name for p in (tmp_path / "trials").iterdir()} == {"a", "b", "a.log", "b.log"}


@pytest.mark.usefixtures("nodes")
def test_the_trial_of_a_killed_worker_runs_again_and_the_killed_one_is_gone(
    tmp_path: Path,
) -> None:
    """The trial kills the worker above it."""
    ended, (line,) = ran([task(tmp_path, "a", "kill")])
    assert ended == {"a": State("finished")}
    assert line.startswith("a: its worker was lost (")
    assert line.endswith("); it runs again")
    assert result(tmp_path, "a")[1]
    # What the killed one printed in its last second may be lost.
    assert (tmp_path / "trials" / "a.log").read_bytes() in (b"at work\n", b"at work\n" * 2)


@pytest.mark.usefixtures("nodes")
def test_a_bench_on_ray_is_the_bench_in_processes(tmp_path: Path, run_here: Any) -> None:
    """Two whole trials in processes of their own, with MLflow."""
    mlflow = pytest.importorskip("mlflow")
    runs: dict[str, Any] = {}
    for name in ("local", "ray"):
        folder, uri = tmp_path / name / "cup", f"sqlite:///{tmp_path}/{name}.db"
        words = [
            "bench", "--task", "cf", "--methods", "nasp", "random", "--seeds", "1", "--budget",
            "6epochs", "--set", *SMALL, "--output-dir", str(folder), "--tracking-uri", uri,
            "--quiet",
        ]  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            if name == "local":
                patch.setattr("sif.bench.executor.run_all", run_here)
            else:
                words += ["--executor", "ray"]
            assert cli.main(words) == 0
        client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("cup").experiment_id
        found = {run.info.run_id: run for run in client.search_runs([experiment])}
        runs[name] = {named(run, found): run for run in found.values()}
    local, ray = (
        pd.read_csv(tmp_path / name / "cup/results.csv").drop(columns=TIMES)
        for name in ("local", "ray")
    )
    pd.testing.assert_frame_equal(ray, local, check_exact=True)
    summary = ("summary of cup",)
    assert set(runs["ray"]) == set(runs["local"])
    assert set(runs["ray"]) >= {
        summary, *((*summary, f"planted · {one} · seed 0") for one in ("nasp", "random")),
    }  # fmt: skip
    for name, run in runs["local"].items():
        other = runs["ray"][name]
        assert other.info.status == run.info.status == "FINISHED"
        assert set(other.data.metrics) == set(run.data.metrics)
        known = {k: v for k, v in run.data.metrics.items() if k.startswith(("test.", "valid."))}
        assert {k: other.data.metrics[k] for k in known} == known
    files = [
        {p.relative_to(tmp_path / name).as_posix() for p in (tmp_path / name).rglob("*")}
        for name in ("local", "ray")
    ]
    assert files[0] == files[1]


def named(run: Any, runs: dict[str, Any]) -> tuple[str, ...]:
    """The names of a run and of those that it is nested in, the outermost first."""
    parent = run.data.tags.get("mlflow.parentRunId")
    return (*(named(runs[parent], runs) if parent else ()), run.info.run_name)


def test_the_trials_of_a_killed_node_run_again_on_the_others(
    nodes: Any, tmp_path: Path, until: Until, alive: Callable[[int], bool]
) -> None:
    """Two nodes have two cores; the one that has the trial is killed, so the other gets it.

    It is the last on this cluster, which takes a minute to notice that a node is lost.
    """
    for _ in range(2):
        nodes.add_node(num_cpus=2)
    run = tmp_path / "trials" / "a"

    def kill() -> None:
        until(lambda: (run / "pid").exists() and (run / "pid").read_text() != "")
        os.kill(int((run / "node").read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    ended, lines = ran([task(tmp_path, "a", "stay", cores=2)])
    killer.join()
    assert ended == {"a": State("finished")}
    assert any("its worker was lost" in line for line in lines)
    node, again = result(tmp_path, "a")
    assert again
    assert node != (run / "node").read_text()
    until(lambda: not alive(int((run / "pid").read_text())), "the first trial is still there")


ALONE = f"""
import pathlib, sys
from sif.bench import RayExecutor
from sif.bench.executor import Listener, Needs, Task
from sif.bench.processes import Work
folder = pathlib.Path(sys.argv[1])
tasks = []
for name in "abc":
    run = folder / "trials" / name
    command = [sys.executable, "-S", "-c", {TRIAL!r}, str(run), "stay"]
    tasks.append(Task(Work(name, command, run.with_suffix(".log")), run, Needs(), lambda: []))
RayExecutor().run(tasks, Listener(lambda *_: None), None)
"""
"""A program with a Ray of its own."""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_however_the_bench_is_ended(
    number: signal.Signals,
    tmp_path: Path,
    environment: dict[str, str],
    until: Until,
    marked: Callable[[str], list[str]],
) -> None:
    """As Ctrl-C of a terminal, which reaches Ray's own processes too, or the signal alone."""
    mark = f"SIF_TEST_{secrets.token_hex(8)}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    bench = subprocess.Popen(
        [sys.executable, "-c", ALONE, str(tmp_path)], env=kept | environment | {mark: "1"},
        start_new_session=True, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        until(lambda: bool(list(tmp_path.glob("trials/*/pid"))) or bench.poll() is not None)
        assert bench.poll() is None
        assert len(marked(mark)) > 3
        if number == signal.SIGINT:
            os.killpg(bench.pid, number)
        else:
            bench.send_signal(number)
        told = bench.communicate(timeout=PATIENCE)[1].decode()
    finally:
        bench.kill()
    if number != signal.SIGKILL:
        assert told.splitlines()[-1] == "KeyboardInterrupt", told
    until(lambda: not marked(mark), f"still there: {marked(mark)}")
