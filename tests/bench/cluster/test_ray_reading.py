"""Parquet files that a real Ray reads: the same rows, and no process, thread or actor stays.

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
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from sif.data.load import load_dataset
from sif.data.streamed import ray_source, scratch
from sif.data.streamed.load import Place
from sif.data.streamed.parquet_source import ParquetSource
from sif.errors import DataError
from tests.bench.cluster.conftest import PATIENCE, variables_here
from tests.bench.cluster.conftest import marked_commands as marked
from tests.bench.cluster.conftest import variables as environment
from tests.bench.cluster.conftest import wait_until as until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'sif[ray]'"),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two nodes of one core each, which RAY_ADDRESS names."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables_here().items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        cluster.add_node(num_cpus=1)
        patch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster.address
        cluster.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of 15 row groups in all; users are texts, items numbers, pairs repeat."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "user": [f"u{n}" for n in rng.integers(0, 23, 600)],
            "item": rng.permutation(1000)[rng.integers(0, 17, 600)],
            "rating": rng.integers(1, 11, 600) / 2,
            "timestamp": rng.integers(1_500_000_000, 1_500_000_100, 600),
        }
    )
    path = tmp_path / "data"
    path.mkdir()
    frame[:200].to_parquet(path / "a.parquet", row_group_size=40)
    frame[200:].to_parquet(path / "b.parquet", row_group_size=40, compression=None)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "scratch", False)


def test_a_running_cluster_reads_the_same_rows_and_keeps_nothing(
    folder: Path, address: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task for each row group; the rows come in the order of the files."""
    import ray

    monkeypatch.setattr(ray_source, "ROWS", 1)
    before = threading.active_count()
    settings = {"order": "rows", "duplicates": "first", "min_user": 3, "min_rating": 1.5}
    known, found = (
        load_dataset(folder, stream=True, reader=reader, place=place, **settings)
        for reader in ("local", "ray")
    )
    assert (found.hash, found.notes) == (known.hash, known.notes)
    assert found.interactions.vocabularies == known.interactions.vocabularies
    assert found.interactions.ids.tolist() == known.interactions.ids.tolist()
    assert not place.folder.exists()
    assert not ray.is_initialized()
    assert [thread.name for thread in threading.enumerate()][before:] == []
    ray.init(address, log_to_driver=False, configure_logging=False)
    try:
        until(lambda: not names(), "actors are left")
        # A connection of the program is used, and left open.
        damage(folder / "b.parquet", 7)
        lines = []
        for reader in ("local", "ray"):
            with pytest.raises(DataError, match=r"b.parquet row group 8: expected") as caught:
                load_dataset(folder, stream=True, reader=reader, place=place)
            lines.append(str(caught.value))
        assert lines[0] == lines[1]
        assert ray.is_initialized()
    finally:
        for one in names():  # of the program's connection
            ray.kill(ray.get_actor(one["name"], one["namespace"]))
        until(lambda: not names())
        ray.shutdown()


def damage(path: Path, group: int) -> None:
    data = bytearray(path.read_bytes())
    begin = pq.ParquetFile(path).metadata.row_group(group).column(0).dictionary_page_offset
    data[begin : begin + 60] = bytes(60)
    path.write_bytes(data)


READ = """
import sys, time
from pathlib import Path
from sif.data.load import load_dataset
from sif.data.streamed import ray_source
from sif.data.streamed.load import Place
ray_source.ROWS = 1
pieces = ray_source.RaySource.pieces
def slow(self, columns, mark=None):
    for number, piece in enumerate(pieces(self, columns, mark)):
        if number == 6:
            time.sleep(600)
        yield piece
ray_source.RaySource.pieces = slow
Path(sys.argv[3]).touch()
load_dataset(sys.argv[1], reader="ray", place=Place(Path(sys.argv[2]), False), order="rows")
"""
"""A program that reads, and stops behind the sixth row group."""


def reading(folder: Path, place: Place, mark: str, **variables: str) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, "-c", READ, str(folder), str(place.folder), str(folder.parent / "begun")],
        env=kept | environment() | {mark: "1"} | variables, start_new_session=True,
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_killed_reading_leaves_no_process_and_is_ended_by_another_reader(
    folder: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a Ray of its own."""
    mark = f"SIF_TEST_{secrets.token_hex(8)}"
    program = reading(folder, place, mark)

    def rows() -> int:
        journals = place.folder.glob(f"*/{scratch.JOURNAL}")
        return sum(json.loads(file.read_text())["state"]["rows"] for file in journals)

    try:
        until(lambda: rows() == 240 or program.poll() is not None)
        assert program.poll() is None, program.communicate()[1].decode()
        assert len(marked(mark)) > 3
    finally:
        program.kill()
        program.wait()
    until(lambda: not marked(mark), f"still there: {marked(mark)}")
    begun = []
    pieces = ParquetSource.pieces

    def watched(self: ParquetSource, columns: Any, mark: Any = None, *until: Any) -> Any:
        begun.append((self.path.name, mark))
        return pieces(self, columns, mark, *until)

    known = load_dataset(folder, place=Place(place.folder.with_name("other"), False), order="rows")
    monkeypatch.setattr(ParquetSource, "pieces", watched)
    found = load_dataset(folder, place=place, order="rows")
    assert begun == [("b.parquet", [1, 0])]
    assert found.hash == known.hash
    assert found.interactions.ids.tolist() == known.interactions.ids.tolist()


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_reading_that_waits_for_cores_can_be_interrupted(
    folder: Path, address: str, place: Place, number: signal.Signals
) -> None:
    """Others hold the cores of the cluster."""
    import ray

    class Holder:
        def here(self) -> bool:
            return True

    ray.init(address, log_to_driver=False, configure_logging=False)
    try:
        holders = [ray.remote(Holder).options(num_cpus=1).remote() for _ in range(2)]
        ray.get([holder.here.remote() for holder in holders])
        mark = f"SIF_TEST_{secrets.token_hex(8)}"
        variables = {name: os.environ[name] for name in os.environ if name.startswith("RAY_")}
        program = reading(folder, place, mark, **variables)
        try:
            until(lambda: len(names()) == 2 or program.poll() is not None)
            assert program.poll() is None, program.communicate()[1].decode()
            time.sleep(2)  # until its tasks are handed over, as well
            program.send_signal(number)
            told = program.communicate(timeout=PATIENCE)[1].decode()
        finally:
            program.kill()
        if number == signal.SIGINT:
            assert told.splitlines()[-1] == "KeyboardInterrupt", told
        else:
            assert program.returncode == -signal.SIGTERM, told
        assert not marked(mark)
        until(lambda: not names(), "actors are left")
        assert not list(place.folder.glob(f"*/{scratch.JOURNAL}"))
    finally:
        ray.shutdown()


def names() -> Any:
    import ray

    return ray.util.list_named_actors(all_namespaces=True)
