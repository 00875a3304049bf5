"""Fixtures that several test modules share."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoints, distributions
from pathlib import Path
from typing import Any

# Tests share the cores, so each process computes with one thread. Libraries read this when they
# are first imported, and processes that tests start inherit it.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import hypothesis
import numpy as np
import pandas as pd
import pytest

# How long an example takes says nothing where tests run side by side.
hypothesis.settings.register_profile("sif", deadline=None)
hypothesis.settings.load_profile("sif")

# A whole job in a fraction of a second: small tables, few epochs, one thread.
TINY = (
    "data.planted.users=40", "data.planted.items=30", "data.planted.density=0.3",
    "search.epochs=6", "search.dimension=4", "search.arch_every=1", "train.epochs=10",
    "train.dimension=4", "train.l2=[2]", "baselines=[popularity,ease]", "threads=1",
    "search.stages=[encoding,operation,weighting]", "serve=searched",
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """The output of a command and its exit status."""

    code: int
    out: str
    err: list[str]


Command = Callable[..., Done]
OnRanks = Callable[..., list[Any]]
Board = Callable[..., pd.DataFrame]
Install = Callable[[pytest.MonkeyPatch, Path, Mapping[str, Any]], None]


@pytest.fixture(scope="session", autouse=True)
def without_plugins() -> Iterator[None]:
    """Names are those of this package, whatever other packages are installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sif.utils.registry.entry_points", lambda **_: EntryPoints(()))
        yield


@pytest.fixture(scope="session")
def install() -> Install:
    """Installs a package: its folder is on the path, and its entry points are the only ones."""

    def installed(patch: pytest.MonkeyPatch, site: Path, project: Mapping[str, Any]) -> None:
        info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        lines = []
        for group, points in project["entry-points"].items():
            lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines))

        def found(**asked: str) -> EntryPoints:
            points = [p for d in distributions(path=[str(site)]) for p in d.entry_points]
            return EntryPoints(points).select(**asked)

        patch.syspath_prepend(str(site))
        patch.setattr("sif.utils.registry.entry_points", found)

    return installed


@pytest.fixture(scope="session")
def checkerboard() -> Board:
    """Makes data whose answer is known: two tastes."""

    def made(users: int, items: int, rated: bool = False, rare: bool = False) -> pd.DataFrame:
        """Users like items of their own parity; a fifth of what they like they do not have yet.

        Args:
            users: Named u0, u1, ...
            items: Named i0, i1, ...
            rated: Everything has a rating, 5 or 1.
            rare: A further item and a further user have a single interaction.
        """
        draws = np.random.default_rng(0)
        rows = [
            (f"u{u}", f"i{i}", 5.0 if (u + i) % 2 == 0 else 1.0)
            for u in range(users)
            for i in range(items)
            if (rated or (u + i) % 2 == 0) and draws.random() < 0.8
        ]
        rows += [("u0", "rare", 5.0), ("late", "i0", 5.0)] * rare
        frame = pd.DataFrame(rows, columns=["user", "item", "rating"])
        return frame if rated else frame[["user", "item"]]

    return made


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the sample data sets in their official layouts."""
    folder = os.environ.get("SIF_DATA_DIR")
    if not folder:
        pytest.skip("SIF_DATA_DIR is not set: it names the folder that holds ml-100k/ and others")
    if not Path(folder).is_dir():
        pytest.skip(f"SIF_DATA_DIR names {folder}, which is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Address, with its password, of a PostgreSQL server of this process, empty at first."""
    place = Path(__file__).parents[1] / "benchmarks" / "postgres_server.py"
    spec = importlib.util.spec_from_file_location("postgres_server", place)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name in (script.PACKAGE, "adbc_driver_postgresql"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: requirements-dev.txt has it")
    with script.server() as address:
        yield address


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an MLflow store with tables alone, which MLflow takes seconds to make."""
    mlflow = pytest.importorskip("mlflow")
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    with contextlib.closing(sqlite3.connect(path)) as store, store:
        store.execute("DELETE FROM experiments")  # the default one, which names its folder
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """The URI of an empty MLflow store of a test's own."""
    shutil.copy(empty_store, tmp_path / "store.db")
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Settings of a whole job that takes a fraction of a second beside its figures."""
    return ["--set", *TINY]


@pytest.fixture
def sif(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """The command line, in this process, in an empty working directory (`tmp_path`)."""
    from sif.cli import main as cli

    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> Done:
        code = cli.main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Done(code, printed.out, printed.err.splitlines())

    return call


class Elsewhere:
    """Makes calls on copies, as other processes do, and the executor that hands itself out.

    Attributes:
        started: Names of calls.
        cancelled: Of those that nobody wanted after all.
        puts: Values that were sent for several calls.
    """

    def __init__(self, width: int) -> None:
        self.width, self.started, self.cancelled, self.puts = width, [], [], 0
        self.given: Any = None

    def check(self) -> None:
        pass

    @contextlib.contextmanager
    def calls(self, threads: int, device: Any, told: Callable[[str], None]) -> Iterator[Any]:
        self.given = threads, device
        yield self

    def put(self, value: Any) -> Any:
        self.puts += 1
        return Sent(cloudpickle(value))

    def places(self, device: Any) -> int:
        return self.width

    def start(
        self, name: str, device: Any, function: Any, /, *arguments: Any, **further: Any
    ) -> Any:
        self.started.append(name)
        return Handed(self, name, cloudpickle((function, arguments, further)))

    def __reduce__(self) -> Any:
        return calls_here, ()  # as those of a cluster do


def calls_here() -> Any:
    from sif.utils.calls import HERE

    return HERE


@dataclass
class Sent:
    """A value that was put."""

    data: bytes


@dataclass
class Handed:
    """A call that was handed over."""

    elsewhere: Elsewhere
    name: str
    work: bytes

    def result(self) -> Any:
        function, arguments, further = pickle.loads(self.work)
        arguments = [pickle.loads(a.data) if isinstance(a, Sent) else a for a in arguments]
        return pickle.loads(cloudpickle(function(*arguments, **further)))

    def cancel(self) -> None:
        self.elsewhere.cancelled.append(self.name)


def cloudpickle(value: Any) -> bytes:
    return bytes(pytest.importorskip("cloudpickle").dumps(value))


@pytest.fixture
def elsewhere() -> Callable[[int], Elsewhere]:
    """Makes an executor with so many places, in this process."""
    return Elsewhere


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs draw nothing; drawing takes longer than all the rest of a tiny job."""
    monkeypatch.setattr("sif.tasks.ending.save_and_draw", lambda *_: [])
    monkeypatch.setattr("sif.tasks.ending.Ending._write_page", lambda *_: None)


RANK = """
import importlib.util, pickle, sys
import torch
from sif.utils.ranks import joined
torch.set_num_threads(1)
source, name, given, found = sys.argv[1:]
spec = importlib.util.spec_from_file_location("on_ranks", source)
module = sys.modules["on_ranks"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
with joined("cpu") as ranks:
    result = getattr(module, name)(ranks, *pickle.load(open(given, "rb")))
pickle.dump(result, open(found, "wb"))
"""
"""One of several processes: calls a function of a test module, and leaves what it returns."""


def meeting_place(count: int) -> tuple[Any, dict[str, str]]:
    """A store as `torchrun` has one, for as long as it is held, and variables of the processes."""
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    return store, {
        "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip


@pytest.fixture(scope="session")
def meeting() -> Callable[[int], tuple[Any, dict[str, str]]]:
    """See `meeting_place`."""
    return meeting_place


@pytest.fixture
def on_ranks(tmp_path: Path) -> OnRanks:
    """Calls a function of a test module in several processes that work together."""

    def call(count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """The results of the processes, by number.

        Args:
            count: Of processes.
            function: Of a module: gets the `Ranks`, then the arguments.
            arguments: That pickle takes.
        """
        given = tmp_path / "given"
        given.write_bytes(pickle.dumps(arguments))
        store, place = meeting_place(count)
        source = function.__code__.co_filename
        found = [tmp_path / f"found-{number}" for number in range(count)]
        command = [sys.executable, "-c", RANK, source, function.__name__, str(given)]
        processes = [
            subprocess.Popen(
                [*command, str(path)], env={**os.environ, **place, "RANK": str(number)},
                stderr=subprocess.PIPE, text=True,
            )
            for number, path in enumerate(found)
        ]  # fmt: skip
        told = [process.communicate(timeout=300)[1] for process in processes]
        del store
        assert [process.returncode for process in processes] == [0] * count, "\n".join(told)
        return [pickle.loads(path.read_bytes()) for path in found]

    return call
