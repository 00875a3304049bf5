"""What a cluster reads is what this process reads: pieces, marks, data sets, errors.

Nodes carry out their part in this process; `tests/bench/cluster/test_ray_reading.py` has a Ray.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sif.config import CFConfig
from sif.config.loading import config_hash
from sif.data import load as load_module
from sif.data.interactions import Columns, make_split
from sif.data.interactions.load import Dataset
from sif.data.load import load_dataset
from sif.data.streamed import parquet_source, ray_source, scratch
from sif.data.streamed.load import Place
from sif.data.streamed.open import open_source
from sif.data.streamed.parquet_source import ParquetSource
from sif.data.streamed.ray_source import NodeReading, RaySource, Share, shares
from sif.errors import ConfigError, DataError, SifError


@pytest.fixture
def folder(frame: pd.DataFrame, tmp_path: Path) -> Path:
    """Three files of 5, 1 and 9 row groups, one of them with the columns in another order."""
    path = tmp_path / "data"
    for name, part, size in (
        ("a", frame[:180], 37),
        ("b", frame[180:210], 50),
        ("c", frame[210:], 23),
    ):
        (path / f"year={name}").mkdir(parents=True)
        columns = part.columns if name != "c" else part.columns[::-1]
        part[columns].to_parquet(path / f"year={name}" / "part.parquet", row_group_size=size)
    return path


@pytest.fixture
def nodes_here(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, int]]:
    """Nodes carry out their part in this process; returns the shares that they get."""
    given: list[dict[str, int]] = []

    def rows(self: RaySource, reading: NodeReading, left: list[dict[str, int]]) -> Iterator[Any]:
        given.extend(left)
        for share in left:
            for table in reading.read(pa.Table.from_pylist([share])):
                assert len(table) == 1
                yield {name: table.column(name)[0] for name in table.column_names}

    monkeypatch.setattr(RaySource, "_rows", rows)
    monkeypatch.setattr(ray_source, "_node", lambda: "10.0.0.7")
    monkeypatch.setattr(load_module, "check", ray_source._files)
    monkeypatch.setattr(load_module, "on_ray", lambda source: nullcontext(RaySource(source)))
    return given


def check_same(path: Path, place: Place, **settings: Any) -> Dataset:
    """Reads data locally and by a cluster."""
    known = load_dataset(path, stream=True, place=place, **settings)
    found = load_dataset(path, reader="ray", place=place, **settings)
    mine, theirs = found.interactions, known.interactions
    assert (found.name, found.hash, found.notes) == (known.name, known.hash, known.notes)
    assert mine.fields == theirs.fields and mine.vocabularies == theirs.vocabularies
    assert mine.ids.dtype == np.int32
    for name in ("ids", "rating", "timestamp", "place"):
        ours, other = getattr(mine, name), getattr(theirs, name)
        assert (ours is None) == (other is None)
        if ours is not None:
            assert ours.dtype == other.dtype and ours.tolist() == other.tolist()
    splits = [make_split(one, "time-cut", 3) for one in (found, known)]
    assert splits[0].hash == splits[1].hash and splits[0].notes == splits[1].notes
    assert not place.folder.exists()
    return found


RULES: dict[str, dict[str, Any]] = {
    "none": {},
    "means by rows": {"duplicates": "mean", "min_rating": 2.5, "min_user": 4, "order": "rows"},
    "between times": {
        "since": 1_500_000_020, "until": 1_500_000_070, "duplicates": "first", "min_item": 3,
        "columns": Columns(context=("year",)),
    },
}  # fmt: skip


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_a_folder_is_read_as_by_this_process(
    folder: Path, place: Place, rules: dict[str, Any], nodes_here: list[dict[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(parquet_source, "ROWS", 30)
    monkeypatch.setattr(ray_source, "ROWS", 60)
    check_same(folder, place, **rules)
    assert [share["file"] for share in nodes_here] == [0] * 5 + [1] + [2] * 4


IDS = np.random.default_rng(1).integers(0, 9, 60)
TYPES = {
    "user": pa.array([f" {k}" if k % 2 else f"{k}.0" for k in IDS]),
    "item": pa.array(IDS, pa.uint64()),
    "timestamp": pa.array(1_500_000_000_007 + 1000 * IDS, pa.timestamp("ms")),
    "rating": pa.array([f"{k},5" for k in IDS]),
    "large": pa.array([f"é{k}" for k in IDS], pa.large_string()),
    "bytes": pa.array([f"b{k}".encode() for k in IDS]),
    "floats": pa.array(IDS / 4, pa.float32()),
    "dates": pa.array([date(2020, 1, 1 + k) for k in IDS]),
    "decimals": pa.array([Decimal(int(k)) for k in IDS]),
    "booleans": pa.array(IDS % 2 == 0),
    "coded": pa.DictionaryArray.from_arrays(pa.array(IDS, pa.int8()), np.arange(500, 700)),
}  # fmt: skip


@pytest.fixture
def types(tmp_path: Path) -> tuple[Path, Columns]:
    """A file of 9 row groups with a column of each type, and its columns."""
    path = tmp_path / "types.parquet"
    pq.write_table(pa.table(TYPES), path, row_group_size=7)
    return path, Columns(context=tuple(TYPES)[4:])


@pytest.mark.usefixtures("nodes_here")
def test_ids_of_any_type_travel_as_dictionaries(
    types: tuple[Path, Columns], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_source, "ROWS", 7)
    path, columns = types
    found = check_same(path, place, columns=columns, duplicates="mean")
    assert found.interactions.sizes == (9, *[9] * 6, 2, 9)[: len(found.interactions.sizes)]
    source = RaySource(open_source(path, columns)).with_numbers([2, 3])
    for piece in source.pieces([0, 1, 4, 6, 2]):
        kinds = [pa.types.is_dictionary(values.type) for values in piece.batch.columns]
        assert kinds == [True, True, True, True, False]
        assert len(piece.batch.column(0).dictionary) <= 7


@pytest.mark.parametrize("in_folder", [True, False])
@pytest.mark.usefixtures("nodes_here")
def test_marks_are_those_of_a_local_reading(
    folder: Path, in_folder: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From every mark either reading goes on behind the other."""
    monkeypatch.setattr(parquet_source, "ROWS", 20)
    monkeypatch.setattr(ray_source, "ROWS", 60)
    path = folder if in_folder else folder / "year=a" / "part.parquet"
    local = open_source(path, Columns())
    cluster = RaySource(local)
    pieces = list(local.pieces([0, 2]))
    assert [piece.mark for piece in cluster.pieces([0, 2])] == [piece.mark for piece in pieces]
    assert len(pieces) > 8
    for number, piece in enumerate(pieces):
        mark = json.loads(json.dumps(piece.mark))
        rest = list(cluster.pieces([0, 2], mark))
        assert len(rest) == len(pieces) - number - 1
        for one, other in zip(rest, pieces[number + 1 :], strict=True):
            assert one.batch.to_pylist() == other.batch.to_pylist()
            assert (one.mark, one.size) == (other.mark, other.size)


def test_shares_have_whole_row_groups_of_about_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_source, "ROWS", 10)
    files = [
        ParquetSource(Path(name), None, (), groups, 0)
        for name, groups in (("a", (3, 7, 1, 25, 4)), ("b", ()), ("c", (6, 0, 5)))
    ]
    found = list(shares(files, 0, None))
    assert found == [
        Share(0, 0, 0, 2), Share(0, 2, 0, 3), Share(0, 3, 0, 4), Share(0, 4, 0, 5),
        Share(2, 0, 0, 2), Share(2, 2, 0, 3),
    ]  # fmt: skip
    assert list(shares(files, 0, [3, 24])) == [Share(0, 3, 24, 5), *found[4:]]
    assert list(shares(files, 2, [3, 0])) == []


@pytest.mark.usefixtures("nodes_here")
def test_a_local_reading_is_ended_by_a_cluster_and_the_other_way_round(
    frame: pd.DataFrame, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is cut off by a disk that takes no more."""
    path = tmp_path / "some.parquet"
    frame.to_parquet(path, row_group_size=40)
    known = load_dataset(path, stream=True, place=place).hash
    commit, pieces = scratch.Scratch.commit, ParquetSource.pieces
    for readers in (("local", "ray"), ("ray", "local")):
        begun: list[Any] = []

        def full(self: scratch.Scratch, state: dict[str, Any]) -> None:
            if state["rows"] > 200:
                raise scratch.ScratchError("full")
            commit(self, state)

        def watched(
            self: ParquetSource, columns: Any, mark: Any = None, *until: Any, begun: Any = begun
        ) -> Any:
            begun.append(mark)
            return pieces(self, columns, mark, *until)

        with monkeypatch.context() as patch:
            patch.setattr(scratch.Scratch, "commit", full)
            with pytest.raises(DataError, match="full"):
                load_dataset(path, stream=True, reader=readers[0], place=place)
        with monkeypatch.context() as patch:
            patch.setattr(ParquetSource, "pieces", watched)
            found = load_dataset(path, stream=True, reader=readers[1], place=place)
        assert begun == [[5, 0]]
        assert found.hash == known


@pytest.mark.usefixtures("nodes_here")
def test_what_a_node_cannot_read_is_one_line(
    folder: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ray_source, "__version__", "0.0.1")
        check_fault(folder, place, r"part.parquet: node 10.0.0.7: expected sif .* found 0.0.1")
    for other, reason in (("", "none"), ("x", "another size or time of change")):
        with monkeypatch.context() as patch:
            # Home saw the file before; the node sees none, or another one.
            patch.setattr(ParquetSource, "fingerprint", lambda self: str(self.path))
            patch.setattr(ray_source, "file_fingerprint", of_node(other))
            check_fault(
                folder, place,
                f"year=c/part.parquet: node 10.0.0.7: expected the file as here, found {reason}$",
            )  # fmt: skip


def of_node(other: str) -> Callable[[Path], str]:
    def found(path: Path) -> str:
        if "year=c" in str(path):
            if not other:
                raise DataError(f"{path}: expected a file, found: No such file")
            return other
        return str(path)

    return found


def check_fault(path: Path, place: Place, pattern: str) -> None:
    """The reading ends with one line, and can go on if something was read."""
    with pytest.raises(DataError, match=pattern) as caught:
        load_dataset(path, reader="ray", place=place)
    assert "\n" not in str(caught.value)
    for left in place.folder.glob("*/"):
        assert json.loads((left / scratch.JOURNAL).read_text())["state"]["rows"] > 0


@pytest.mark.usefixtures("nodes_here")
def test_damaged_files_and_bad_cells_are_told_as_by_this_process(
    frame: pd.DataFrame, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("some.parquet")
    frame.to_parquet(path, row_group_size=40, compression=None)
    data = bytearray(path.read_bytes())
    begin = pq.ParquetFile(path).metadata.row_group(7).column(0).dictionary_page_offset
    data[begin : begin + 60] = bytes(60)
    path.write_bytes(data)
    for told in (r"^some.parquet row group 8: ", r"^some.parquet row 322: user: expected an id"):
        lines = []
        for reader in ("local", "ray"):
            with pytest.raises(DataError, match=told) as caught:
                load_dataset(path, stream=True, reader=reader, place=place)
            lines.append(str(caught.value))
            assert not place.folder.exists()
        assert lines[0] == lines[1]
        frame.loc[321, "user"] = None
        frame.to_parquet(path, row_group_size=40)


def test_other_sources_are_refused(
    frame: pd.DataFrame, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame.to_csv(tmp_path / "some.csv", index=False)
    frame.to_parquet(tmp_path / "some.parquet")
    for name, told, settings in (
        (tmp_path / "some.csv", r"some.csv: data.reader: expected Parquet or a folder", {}),
        ("ml-100k", r"data.reader: expected a Parquet file .* found the data set ml-100k", {}),
        (
            tmp_path / "some.parquet", r"data.stream: expected auto or true .* found false",
            {"stream": False},
        ),
        ("sqlite:///some.db", r"data.reader: .* found a database", {"table": "ratings"}),
    ):  # fmt: skip
        with pytest.raises(SifError, match=told):
            load_dataset(name, reader="ray", place=place, **settings)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ConfigError, match=r"^data.reader: expected ray, found none; .*'sif\[ray\]'"
    ):
        load_dataset(tmp_path / "some.parquet", reader="ray", place=place)
    assert not place.folder.exists()


@pytest.mark.usefixtures("nodes_here")
def test_a_trial_on_a_cluster_reads_by_itself(
    folder: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(load_module.READER_VARIABLE, "local")
    monkeypatch.setattr(RaySource, "_rows", None)
    assert len(load_dataset(folder, reader="ray", place=place).interactions)


def test_the_reader_is_no_part_of_a_result() -> None:
    assert config_hash(CFConfig(data={"reader": "ray"})) == config_hash(CFConfig())
    assert config_hash(CFConfig(data={"stream": True})) != config_hash(CFConfig())


def test_a_dead_address_ends_a_job_before_anything_is_written(
    sif: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(ray_source, "check_installed", lambda user: None)
    before = sorted(folder.parent.rglob("*"))
    words = ["--dataset", str(folder), "--set", "data.reader=ray", "--no-tracking"]
    done = sif("--task", "cf", *words, "--output-dir", str(folder.parent / "run"))
    assert done.code == 2
    told = "expected a running Ray cluster, found 127.0.0.1:1: Connection refused"
    assert done.err == [f"error: RAY_ADDRESS: {told}"]
    assert sorted(folder.parent.rglob("*")) == before
