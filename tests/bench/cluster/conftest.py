"""A cluster without Ray: this machine carries out orders, with the folder of home or without."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sif.bench.cluster.drive import LostError, Setting
from sif.bench.cluster.files import Files
from sif.bench.cluster.node import carry_out
from sif.bench.cluster.orders import Order, Report
from sif.bench.executor import Needs


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
