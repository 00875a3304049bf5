"""The executor of Ray without Ray: what it asks for, and what it refuses at once."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sif.bench import RayExecutor
from sif.bench.executor import Listener, Needs, Task
from sif.bench.processes import Work
from sif.bench.state import State
from sif.errors import ConfigError
from sif.utils import ray_cluster

with_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'sif[ray]'")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sif.bench.cluster.executor.check_installed", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.usefixtures("installed")
def test_wrong_arguments_are_one_line() -> None:
    for asked, told in (
        ({"memory": "much"}, "memory: expected bytes"), ({"gpus": -1.0}, "gpus: expected a share"),
        ({"gpus": 1.5}, "gpus: expected a share below 1, or a whole number, found 1.5"),
        ({"address": 3}, "address: expected a text or None, found 3"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=told):
            RayExecutor(**asked)  # type: ignore[arg-type]


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"executor ray: expected ray, found none; .*'sif\[ray"):
        RayExecutor()


@pytest.mark.usefixtures("installed")
def test_trials_ask_for_what_their_jobs_need_and_what_was_asked_for(
    tmp_path: Path, fake: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = fake()

    @contextmanager
    def connected(*given: Any) -> Iterator[Any]:
        seen.append(given[:2])
        yield cluster

    seen: list[Any] = []
    monkeypatch.setattr("sif.bench.cluster.executor.connected", connected)
    ended: list[State] = []
    for executor, expected in (
        (RayExecutor("a:1"), Needs((), 2, 1.0)),
        (RayExecutor(memory="2GB", gpus=0.25), Needs((), 2, 0.25, 2 * 10**9)),
        (RayExecutor(gpus=0), Needs((), 2, 0.0)),
    ):
        work = Work("a", [sys.executable, "-S", "-c", ""], tmp_path / "trials" / "a.log")
        task = Task(work, tmp_path / "trials" / "a", Needs((), 2, 1.0), list)
        executor.run([task], Listener(lambda _, state: ended.append(state)), None)
        assert cluster.needs[-1] == expected
        assert seen[-1] == (executor.address, [expected])
        assert not (tmp_path / "trials" / ".home").exists()
        assert executor.threads(None) == 1
    assert ended == [State("finished")] * 3
    RayExecutor().run([], Listener(lambda *_: None), None)
    assert len(seen) == 3  # nothing to run needs no cluster


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("ray://10.0.0.1:10001", "found ray://10.0.0.1:10001; run the command on a node, or by"),
        ("somewhere", "expected host:port or auto, found 'somewhere'"),
        ("127.0.0.1:99999", "expected a running Ray cluster, found 127.0.0.1:99999: "),
    ],
)
def test_addresses_of_no_cluster_are_one_line(address: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ray_cluster.check_address(address)
    assert str(caught.value).startswith("ray_address: expected ")
    assert told in str(caught.value)


def test_a_dead_address_ends_the_command_before_anything_is_written(
    sif: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sif.bench.cluster.executor.check_installed", lambda: None)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{one.getsockname()[1]}"  # nobody listens
        for command in (
            ["bench", "--task", "cf", "--methods", "nasp", "--budget", "3epochs"],
            ["panel", "--data", "planted"],
            ["run", "--task", "cf"],
        ):
            words = ["--no-tracking", "--executor", "ray", "--ray-address", address]
            done = sif(*command, *words)
            assert done.code == 2
            told = f"expected a running Ray cluster, found {address}: Connection refused"
            assert done.err == [f"error: --ray-address: {told}"]
    assert list(tmp_path.iterdir()) == []


def test_options_of_ray_without_it_are_refused(sif: Callable[..., Any]) -> None:
    for option, value in (("--ray-address", "a:1"), ("--memory", "1GB"), ("--gpus", "1")):
        for command in (["panel", "--data", "planted"], ["run", "--task", "cf"]):
            done = sif(*command, option, value)
            assert done.code == 2
            assert "expected it with --executor ray" in done.err[0]


@with_ray
@pytest.mark.slow
def test_something_else_at_the_address_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow: it waits for an answer in a process that imports Ray."""
    monkeypatch.setattr(ray_cluster, "_CONNECTED", 3.0)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        with pytest.raises(ConfigError, match=r"no answer within 3 s|Ray cluster, found 127"):
            ray_cluster.check_address(f"127.0.0.1:{one.getsockname()[1]}")


def test_a_trial_without_a_place_is_refused_here_and_waits_on_a_cluster() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 4.0, "memory": 8e9}},
        {"Alive": True, "Resources": {"CPU": 1.0, "GPU": 2.0, "memory": 8e9}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0, "memory": 1e12}},
    ]
    ray = SimpleNamespace(nodes=lambda: nodes)
    lines: list[str] = []
    for fits in (Needs(cores=4), Needs(gpus=0.5), Needs(memory=8 * 10**9)):
        ray_cluster._check_place(ray, [fits], True, lines.append)
    assert lines == []
    for one, told in (
        (Needs(cores=5), "expected 5 core(s), 0 GPU(s) for a task, found 4 core(s), 0 GPU(s)"),
        (Needs(cores=2, gpus=1), "2 core(s), 1 GPU(s)"),  # no node has both
        (Needs(memory=10**10), "1 core(s), 0 GPU(s), 10000000000 bytes"),
    ):
        with pytest.raises(ConfigError) as caught:
            ray_cluster._check_place(ray, [one], True, lines.append)
        assert told in str(caught.value)
        ray_cluster._check_place(ray, [one], False, lines.append)
    assert lines[0].startswith("no node has 5 core(s), 0 GPU(s) for a task; it waits until one")
