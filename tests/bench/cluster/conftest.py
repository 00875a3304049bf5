"""A cluster without Ray: this machine carries out orders, with the folder of home or without."""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sif.bench.cluster.drive import LostError, Setting
from sif.bench.cluster.files import Files
from sif.bench.cluster.node import carry_out
from sif.bench.cluster.orders import Order, Report
from sif.bench.executor import Needs
from sif.utils.locks import locked

ROOT = Path(__file__).parents[3]
PATIENCE = 240.0  # seconds that a busy machine may take for anything here


@dataclass
class FakeHome:
    """Home in this process: keeps what nodes tell."""

    logs: dict[Path, bytes] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    stopping: bool = False

    def begin(self, name: str) -> bool:
        if not self.stopping:
            self.names.add(name)
        return not self.stopping

    def tell(self, log: Path, text: bytes) -> bool:
        self.logs[log] = self.logs.get(log, b"") + text
        return not self.stopping

    def end(self, name: str) -> None:
        self.names.discard(name)

    def fetch(self, data: Any) -> Files:
        assert data[0] == "put"
        return data[1]


@dataclass
class FakeCluster:
    """Carries out an order when somebody asks what has ended.

    Attributes:
        home_folder: Of home, where nodes do not share it: another folder takes its place while a
            node works.
        node_folder: The folder that nodes then have there.
        losses: Names of trials to lose, as often as they are in it.
    """

    home_folder: Path | None = None
    node_folder: Path | None = None
    losses: list[str] = field(default_factory=list)
    home: FakeHome = field(default_factory=FakeHome)
    orders: list[Order] = field(default_factory=list)
    needs: list[Needs] = field(default_factory=list)
    puts: int = 0
    most: int = 0
    _waiting: dict[int, Order] = field(default_factory=dict)
    _reports: dict[int, Report | LostError] = field(default_factory=dict)

    def put(self, data: Any) -> Any:
        self.puts += 1
        return "put", data

    def submit(self, order: Order, needs: Needs) -> int:
        self.orders.append(order)
        self.needs.append(needs)
        self._waiting[len(self.orders)] = order
        self.most = max(self.most, len(self._waiting))
        return len(self.orders)

    def ended(self, tickets: Sequence[int], seconds: float) -> Sequence[int]:
        if not tickets:
            return []
        ticket = tickets[0]
        order = self._waiting.pop(ticket)
        if order.name in self.losses:
            self.losses.remove(order.name)
            self._reports[ticket] = LostError("its node died")
        else:
            self._reports[ticket] = self._carry_out(order)
        return [ticket]

    def _carry_out(self, order: Order) -> Report:
        if self.home_folder is None or self.node_folder is None:
            return carry_out(order, self.home)
        aside = self.home_folder.with_name("aside")
        self.home_folder.rename(aside)
        shutil.copytree(self.node_folder, self.home_folder, symlinks=True)
        try:
            return carry_out(order, self.home)
        finally:
            shutil.rmtree(self.node_folder)
            self.home_folder.rename(self.node_folder)
            aside.rename(self.home_folder)

    def report(self, ticket: int) -> Report:
        found = self._reports.pop(ticket)
        if isinstance(found, LostError):
            raise found
        return found

    def running(self) -> frozenset[str]:
        return frozenset(order.name for order in self._waiting.values())

    def stop(self) -> frozenset[str]:
        self.home.stopping = True
        return self.running()


@pytest.fixture(scope="module", autouse=True)
def only_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One module at a time: a Ray takes all cores, and beside another one it loses its own."""
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with locked(shared, "expected the Ray of another module to end", wait=2 * 60 * 60):
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is sent lies below the tests' own folder."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def home() -> FakeHome:
    return FakeHome()


@pytest.fixture
def fake() -> Callable[..., FakeCluster]:
    return FakeCluster


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """A bench's folder at home, with its mark."""
    folder = tmp_path / "home"
    (folder / "trials").mkdir(parents=True)
    (folder / "trials" / ".home").write_text("here")
    return Setting(folder, (folder / "trials" / ".home", "here"), {"SIF_COLOR": "red"})


@functools.cache
def variables() -> dict[str, str]:
    """Variables of a program with a Ray of its own."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {
        "PYTHONPATH": paths, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": os.environ.setdefault("SIF_TEST_RAY_TOKEN", secrets.token_hex(32)),
        "RAY_raylet_start_wait_time_s": "180",
        "RAY_agent_register_timeout_ms": "180000", "RAY_worker_niceness": "0",
        # A node of a busy machine is late, not dead: a minute in place of 15 s.
        "RAY_health_check_failure_threshold": "20",
    }  # fmt: skip


def variables_here() -> dict[str, str]:
    """Variables of this process, in which Ray may be imported.

    Ray asks whether there is a token when it is imported, and never again. Nodes that are started
    without it, where this process has one, take its silence for death, and the other way round.
    """
    found = variables()
    if "ray" in sys.modules:
        from ray._raylet import AuthenticationMode, get_authentication_mode

        if get_authentication_mode() != AuthenticationMode.TOKEN:
            return {name: one for name, one in found.items() if not name.startswith("RAY_AUTH")}
    return found


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Variables of a program with a Ray of its own."""
    return variables()


@pytest.fixture(scope="module")
def in_environment() -> Iterator[None]:
    """This process has these variables, as a program with a Ray of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables_here().items():
            patch.setenv(name, value)
        yield


def is_alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="session")
def alive() -> Callable[[int], bool]:
    """True for the number of a process that has not ended."""
    return is_alive


def wait_until(condition: Callable[[], bool], told: str = "") -> None:
    """Waits for a condition; fails, saying why it waited, once that takes too long."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, told or "it takes too long"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """See `wait_until`."""
    return wait_until


def marked_commands(name: str) -> list[str]:
    """Commands of the processes that inherited a variable."""
    commands = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if name.encode() in (folder / "environ").read_bytes() and is_alive(int(folder.name)):
                commands.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return commands


@pytest.fixture(scope="session")
def marked() -> Callable[[str], list[str]]:
    """See `marked_commands`."""
    return marked_commands
