"""Trials on a cluster that is none: lost ones, ended ones, and nodes that share nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sif.bench.cluster.drive import Drive, Setting, marked
from sif.bench.executor import Listener, Needs, Task
from sif.bench.processes import Work
from sif.bench.state import State
from sif.data.load import READER_VARIABLE
from sif.utils.ray_cluster import RETRIES

Fake = Callable[..., Any]

TRIAL = """
import json, os, pathlib, sys
run, data = map(pathlib.Path, sys.argv[1:3])
before = json.loads((run / "metrics.json").read_text()) if run.is_dir() else []
run.mkdir(parents=True, exist_ok=True)
(run / "config.yaml").touch()
print("at work in", run.name, *sys.argv[3:])
found = [data.read_text(), os.environ["SIF_COLOR"], os.environ["OMP_NUM_THREADS"], os.getcwd()]
(run / "metrics.json").write_text(json.dumps([*before, found]))
"""
"""A job that reads data, and adds to its results each time it goes on."""


def task(setting: Setting, name: str, code: str = TRIAL, store: str = "") -> Task[str]:
    """A trial whose paths are relative, as those of a bench in the working directory."""
    data = setting.folder / "data.csv"
    if not data.exists():
        data.write_text("1,2")
    command = [sys.executable, "-c", code, f"trials/{name}", "data.csv"]
    work = Work(name, command, Path(f"trials/{name}.log"))
    needs = Needs((data,), cores=3, store=store)
    return Task(work, Path(f"trials/{name}"), needs, lambda: [*command, "again"])


def results(setting: Setting, name: str) -> list[list[str]]:
    found: list[list[str]] = json.loads(
        (setting.folder / "trials" / name / "metrics.json").read_text()
    )
    return found


def drive(
    cluster: Any, setting: Setting, tasks: Sequence[Task[str]], most: int | None = None
) -> tuple[dict[str, State], list[str]]:
    ended: dict[str, State] = {}
    lines: list[str] = []
    listener = Listener(lambda name, state: ended.update({name: state}), told=lines.append)
    Drive(cluster, setting, listener).run(tasks, most)
    return ended, lines


@pytest.fixture
def apart(fake: Fake, setting: Setting, tmp_path: Path) -> Any:
    """A cluster whose nodes share no folder with home."""
    (tmp_path / "node").mkdir()
    return fake(setting.folder, tmp_path / "node")


def test_nodes_that_share_the_folder_work_in_it(fake: Fake, setting: Setting) -> None:
    cluster = fake()
    ended, lines = drive(cluster, setting, [task(setting, name) for name in "ab"], 1)
    assert ended == {"a": State("finished"), "b": State("finished")}
    assert (lines, cluster.most, cluster.puts) == ([], 1, 0)
    assert results(setting, "a") == [["1,2", "red", "3", str(setting.folder)]]
    assert cluster.home.logs[setting.folder / "trials/a.log"] == b"at work in a\n"
    peak = ended["a"].peak_memory_mb
    assert peak is None or peak > 0  # of a process that may end before it is looked at again
    assert cluster.home.names == set()


def test_trials_do_not_wait_for_tasks_that_read_their_data(fake: Fake, setting: Setting) -> None:
    cluster = fake()
    ended, _ = drive(
        cluster, setting, [task(setting, "a", f"import os; print(os.environ[{READER_VARIABLE!r}])")]
    )
    assert ended == {"a": State("finished")}
    assert cluster.home.logs[setting.folder / "trials/a.log"] == b"local\n"


def test_nodes_that_share_nothing_are_sent_what_they_lack_once(
    apart: Any, setting: Setting, tmp_path: Path
) -> None:
    ended, lines = drive(apart, setting, [task(setting, name) for name in "abc"])
    assert set(ended.values()) == {State("finished")}
    assert (lines, apart.puts) == ([], 1)
    for name in "abc":
        assert results(setting, name) == [["1,2", "red", "3", str(setting.folder)]]
        assert apart.home.logs[setting.folder / f"trials/{name}.log"].startswith(b"at work")
    # The node keeps the data for later trials, and no run folder.
    left = {p.name for p in (tmp_path / "node").rglob("*") if p.name != "trials"}
    assert left == {"data.csv"}


def test_a_begun_trial_goes_on_at_a_node_that_shares_nothing(apart: Any, setting: Setting) -> None:
    for _ in range(2):
        ended, _ = drive(apart, setting, [task(setting, "a")])
        assert ended == {"a": State("finished")}
    assert len(results(setting, "a")) == 2


def test_a_lost_trial_runs_again_and_goes_on_where_it_was(fake: Fake, setting: Setting) -> None:
    cluster = fake(losses=["b"])
    ended, lines = drive(cluster, setting, [task(setting, name) for name in "ab"])
    assert ended == {"a": State("finished"), "b": State("finished")}
    assert lines == ["b: its worker was lost (its node died); it runs again"]
    assert cluster.home.logs[setting.folder / "trials/b.log"] == b"at work in b again\n"


def test_a_trial_that_is_lost_every_time_fails_and_the_others_go_on(
    fake: Fake, setting: Setting
) -> None:
    cluster = fake(losses=["a"] * 10)
    ended, lines = drive(cluster, setting, [task(setting, name) for name in "ab"])
    assert ended == {
        "a": State("failed", "its worker was lost 4 times: its node died"), "b": State("finished"),
    }  # fmt: skip
    assert len(lines) == RETRIES


def test_a_trial_that_fails_says_why_and_leaves_what_it_wrote(apart: Any, setting: Setting) -> None:
    code = TRIAL + "\nprint('error: no such file'); sys.exit(2)"
    ended, _ = drive(apart, setting, [task(setting, "a", code)])
    assert ended == {"a": State("failed", "no such file")}
    assert len(results(setting, "a")) == 1


def test_a_store_of_home_alone_is_refused_by_nodes_that_cannot_reach_it(
    apart: Any, fake: Fake, setting: Setting
) -> None:
    store = "sqlite:///mlflow.db"
    ended, _ = drive(apart, setting, [task(setting, "a", store=store)])
    assert ended["a"].status == "failed"
    assert "tracking.uri: expected a server" in ended["a"].reason
    assert f"found {store}" in ended["a"].reason
    ended, _ = drive(fake(), setting, [task(setting, "a", store=store)])
    assert ended == {"a": State("finished")}


def test_another_version_of_sif_is_refused(
    fake: Fake, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sif.bench.cluster.node.__version__", "0.0.1")
    ended, _ = drive(fake(), setting, [task(setting, "a")])
    assert "expected sif " in ended["a"].reason
    assert ended["a"].reason.endswith("as at home, found 0.0.1")


def test_data_that_a_node_has_otherwise_are_refused(
    apart: Any, setting: Setting, tmp_path: Path
) -> None:
    one = task(setting, "a")
    (tmp_path / "node" / "data.csv").write_text("theirs")
    ended, _ = drive(apart, setting, [one])
    assert "data.csv: expected the content that it has at home, found another" in (
        ended["a"].reason
    )


def test_run_folders_of_the_nodes_own_stay_and_those_of_lost_workers_go(
    apart: Any, setting: Setting, tmp_path: Path
) -> None:
    theirs = tmp_path / "node" / "trials" / "a" / "metrics.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("[]")
    ended, _ = drive(apart, setting, [task(setting, "a")])
    assert "trials/a: expected nothing, found a folder of this node's own" in ended["a"].reason
    assert theirs.read_text() == "[]"
    theirs.parent.with_name(".a.node").touch()  # a worker was lost in it
    ended, _ = drive(apart, setting, [task(setting, "a")])
    assert ended == {"a": State("finished")}
    assert len(results(setting, "a")) == 1
    assert list((tmp_path / "node" / "trials").iterdir()) == []


def test_data_that_are_nowhere_fail_once_instead_of_travelling_for_ever(
    apart: Any, setting: Setting
) -> None:
    one = task(setting, "a")
    (setting.folder / "data.csv").unlink()
    ended, _ = drive(apart, setting, [one])
    assert ended["a"].status == "failed"


WAITS = """
import pathlib, sys, time
run = pathlib.Path(sys.argv[1])
run.mkdir()
try:
    (run / "config.yaml").touch()
    time.sleep(60)
except KeyboardInterrupt:
    (run / "end").touch()
"""


@pytest.mark.parametrize("shares", [True, False])
def test_an_interruption_stops_trials_which_bring_their_files_home(
    shares: bool, fake: Fake, setting: Setting, tmp_path: Path
) -> None:
    (tmp_path / "node").mkdir()
    cluster = fake() if shares else fake(setting.folder, tmp_path / "node")

    class Stops(type(cluster.home)):  # type: ignore[misc]
        def tell(self, log: Path, text: bytes) -> bool:
            self.stopping = (setting.folder / "trials/a/config.yaml").exists()
            return super().tell(log, text)

    cluster.home = Stops()
    began = time.monotonic()
    ended, _ = drive(cluster, setting, [task(setting, "a", WAITS), task(setting, "b")])
    assert time.monotonic() - began < 50
    assert ended == {"a": State("pending"), "b": State("pending")}
    assert (setting.folder / "trials/a/end").exists()
    assert not (setting.folder / "trials/b").exists()


def test_ctrl_c_at_home_waits_for_what_runs(fake: Fake, setting: Setting) -> None:
    cluster = fake()

    def interrupt(_: Sequence[str]) -> None:
        raise KeyboardInterrupt

    listener = Listener[str](lambda name, state: None, interrupt)
    with pytest.raises(KeyboardInterrupt):
        Drive(cluster, setting, listener).run([task(setting, name) for name in "ab"], None)
    # The first ended before; the second was told not to begin.
    assert cluster.home.stopping
    assert len(results(setting, "a")) == 1
    assert not (setting.folder / "trials/b").exists()


def test_a_folder_is_marked_for_the_time_of_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("OTHER", "secret")
    with marked(Path("bench/trials")) as found:
        path, text = found.mark
        assert path == tmp_path / "bench/trials/.home"
        assert path.read_text() == text
        assert found.folder == tmp_path
        assert found.environment["MLFLOW_TRACKING_USERNAME"] == "ann"
        assert "OTHER" not in found.environment
    assert not path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_a_trial_ends_with_the_worker_that_began_it(setting: Setting, tmp_path: Path) -> None:
    """The worker is a process of its own, which is killed as a node's out of memory would be."""
    import subprocess

    from sif.bench.cluster import node, tied

    assert node.tied is tied
    begun = tmp_path / "begun"
    child = f"import os, time; open({str(begun)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = (
        "import os, subprocess, sys\n"
        f"subprocess.run([sys.executable, '-S', {tied.__file__!r}, str(os.getpid()), "
        f"sys.executable, '-S', '-c', {child!r}])"
    )
    worker = subprocess.Popen([sys.executable, "-S", "-c", parent], start_new_session=True)
    until = time.monotonic() + 30
    while not (begun.exists() and begun.read_text()) and time.monotonic() < until:
        time.sleep(0.02)
    number = int(begun.read_text())
    worker.kill()
    worker.wait()
    while Path(f"/proc/{number}").exists() and time.monotonic() < until:
        if Path(f"/proc/{number}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.02)
    else:
        assert not Path(f"/proc/{number}").exists()
    alone = subprocess.run(
        [sys.executable, "-S", tied.__file__, "1", sys.executable, "-c", "print('ran')"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (alone.returncode, alone.stdout) == (1, "")
    assert "the worker was lost" in alone.stderr
