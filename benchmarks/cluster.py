"""Trials on a cluster of two nodes against the same trials here: equal, and how much slower.

Tiny trials run three times: by `--executor local` with two at a time, by `--executor ray` on two
nodes of one core each, and there again while one node is killed once half of the trials have ended.
Nodes are processes of this machine, started by `ray start`. The rows say how many trials finished,
the seconds, those beyond the local ones, and whether the table of results is the local one.

    OMP_NUM_THREADS=1 python benchmarks/cluster.py --output cluster.csv
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from sif.bench.results import RESULTS

ROOT = Path(__file__).parents[1]
SMALL = (
    "data.planted.users=40", "data.planted.items=30", "data.planted.density=0.3",
    "search.dimension=4", "search.arch_every=1", "train.epochs=10", "train.dimension=4",
    "train.l2=[2]",
)  # fmt: skip
METHODS = ("nasp", "random")
TIMES = ["search_seconds", "search_wall_seconds", "train_seconds", "total_seconds",
         "peak_memory_mb"]  # fmt: skip
COLUMNS = ("run", "trials", "finished", "seconds", "beyond_local", "same_table", "lost")
START = 300.0  # seconds in which a node must have started


def begun(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """A process in a session of its own, whose output goes to a file."""
    with log.open("wb") as file:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip


class Nodes:
    """Nodes of a cluster on this machine, one core each.

    Attributes:
        address: Of the head.
    """

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self._folder = folder
        head = ["--head", f"--port={port}", "--include-dashboard=false"]
        self._nodes = [self._start("head", head)]
        self._nodes.append(self._start("other", [f"--address={self.address}"]))

    def _start(self, name: str, options: list[str]) -> subprocess.Popen[bytes]:
        program = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
        log = self._folder / f"{name}.log"
        node, until = begun([*program, *options], log), time.monotonic() + START
        while b"Ray runtime started" not in log.read_bytes():
            if node.poll() is not None or time.monotonic() > until:
                node.kill()
                raise SystemExit(f"the node {name} does not start:\n{log.read_text()}")
            time.sleep(0.2)
        return node

    def kill(self) -> None:
        """Kills the node that is not the head, as a machine without power."""
        os.killpg(self._nodes[1].pid, signal.SIGKILL)

    def close(self) -> None:
        for node in reversed(self._nodes):
            node.send_signal(signal.SIGTERM)
        for node in reversed(self._nodes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(60)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)


@contextlib.contextmanager
def nodes(folder: Path) -> Iterator[Nodes]:
    found = Nodes(folder)
    try:
        yield found
    finally:
        found.close()


def bench(folder: Path, trials: int, *more: str) -> subprocess.Popen[bytes]:
    """A bench as a process."""
    command = [
        sys.executable, "-m", "sif", "bench", "--task", "cf", "--methods", *METHODS, "--seeds",
        str(trials // len(METHODS)), "--budget", "6epochs", "--set", *SMALL, "--no-tracking",
        "--output-dir", str(folder), *more,
    ]  # fmt: skip
    return begun(command, folder.with_suffix(".log"))


def ended(folder: Path) -> int:
    return len(list((folder / "trials").glob("*.json")))


def run(
    name: str, folder: Path, trials: int, more: list[str], cluster: Nodes | None = None
) -> dict[str, object]:
    """One run, which kills a node half way where there is a cluster."""
    start = time.monotonic()
    process = bench(folder, trials, *more)
    try:
        while process.poll() is None:
            if cluster is not None and ended(folder) >= trials // 2:
                cluster.kill()
                cluster = None
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait()
    seconds = time.monotonic() - start
    log = folder.with_suffix(".log").read_text()
    if process.returncode:
        raise SystemExit(f"{name}: exit code {process.returncode}\n{log}")
    found = pd.read_csv(folder / f"{RESULTS}.csv")
    return {
        "run": name, "trials": len(found), "finished": int((found["status"] == "finished").sum()),
        "seconds": round(seconds, 1), "lost": log.count("its worker was lost"),
        "table": found.drop(columns=TIMES),
    }  # fmt: skip


def measured(folder: Path, trials: int) -> list[dict[str, object]]:
    """The three runs."""
    rows = [run("local", folder / "local", trials, ["--workers", "2"])]
    with nodes(folder) as cluster:
        more = ["--executor", "ray", "--ray-address", cluster.address]
        rows.append(run("ray", folder / "ray", trials, more))
        rows.append(run("ray, one node killed", folder / "killed", trials, more, cluster))
    first = rows[0]
    for row in rows:
        row["beyond_local"] = round(row["seconds"] - first["seconds"], 1)
        row["same_table"] = row["table"].equals(first["table"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20, help="an even number (default: 20)")
    parser.add_argument("--output", type=Path, required=True, help="CSV to write")
    values = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no node is left
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    # A secret of these nodes alone, and none in the home folder.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with tempfile.TemporaryDirectory(prefix="sif-cluster-") as scratch:
        rows = measured(Path(scratch), values.trials)
    with values.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    print(values.output.read_text())


if __name__ == "__main__":
    main()
