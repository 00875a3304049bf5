"""What is read by pieces is what readers in memory read: values, notes, hashes and errors."""

from __future__ import annotations

import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sif.config.cf import DataConfig
from sif.data.interactions import Columns, make_split
from sif.data.interactions.load import Dataset
from sif.data.load import load_dataset
from sif.data.streamed import columns, parquet_source, scratch, text_source
from sif.data.streamed.load import Place
from sif.data.streamed.parquet_source import ParquetSource
from sif.errors import DataError, SifError
from sif.recommender.inputs import parts

N = 400


def check_same(path: Path, place: Place, **settings: Any) -> Dataset:
    """Reads a file both ways; returns what was read by pieces."""
    known = load_dataset(path, stream=False, **settings)
    found = load_dataset(path, stream=True, place=place, **settings)
    check_equal(known, found)
    assert found.interactions.ids.dtype == np.int32
    if not place.is_kept:
        assert not place.folder.exists()
    return found


def check_equal(known: Dataset, found: Dataset) -> None:
    mine, theirs = found.interactions, known.interactions
    assert (found.name, found.hash, found.notes) == (known.name, known.hash, known.notes)
    assert mine.fields == theirs.fields and mine.vocabularies == theirs.vocabularies
    assert mine.ids.tolist() == theirs.ids.tolist()
    for name in ("rating", "timestamp", "place"):
        ours, other = getattr(mine, name), getattr(theirs, name)
        assert (ours is None) == (other is None)
        if ours is not None:
            assert ours.tolist() == other.tolist()
    assert (mine.dropped is None) == (theirs.dropped is None)
    if mine.dropped is not None and theirs.dropped is not None:
        assert mine.dropped.vocabularies == theirs.dropped.vocabularies
        assert mine.dropped.ids.tolist() == theirs.dropped.ids.tolist()
    assert mine.content_hash == theirs.content_hash


def check_refused(path: Path, place: Place, **settings: Any) -> str:
    """Both ways refuse a file with the same line, and nothing stays."""
    with pytest.raises(SifError) as known:
        load_dataset(path, stream=False, **settings)
    with pytest.raises(SifError) as found:
        load_dataset(path, stream=True, place=place, **settings)
    assert str(found.value) == str(known.value)
    assert not place.folder.exists() or place.is_kept
    return str(found.value)


RULES: dict[str, dict[str, Any]] = {
    "none": {},
    "first, rows": {"duplicates": "first", "order": "rows"},
    "mean": {"duplicates": "mean"},
    "core": {"min_rating": 2.0, "min_user": 4, "min_item": 5},
    "core of means by rows": {
        "duplicates": "mean", "min_rating": 2.5, "min_user": 4, "order": "rows",
    },
    "by time": {"order": "time", "min_item": 2},
    "from a time on": {"since": 1_500_000_020, "min_user": 3},
    "between times": {
        "since": 1_500_000_020, "until": 1_500_000_070, "duplicates": "mean", "min_rating": 2.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_rows_are_merged_and_filtered_as_in_memory(
    frame: pd.DataFrame, tmp_path: Path, place: Place, ending: str, rules: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("sif.data.interactions.parts._MOST_ROWS", 50)
    monkeypatch.setattr("sif.data.interactions.interactions._ROWS", 64)
    monkeypatch.setattr(text_source, "BLOCK", 500)
    monkeypatch.setattr(columns, "_WAITING", 30)
    path = tmp_path / f"some.{ending}"
    if ending == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, row_group_size=37)
    check_same(path, place, **rules)


def text(values: Any) -> list[str]:
    return [str(value) for value in values]


ITEMS: dict[str, Callable[[np.ndarray], Any]] = {
    "int8": lambda n: pa.array(n, pa.int8()),
    "uint64": lambda n: pa.array(n, pa.uint64()),
    "whole floats": lambda n: pa.array(n, pa.float64()),
    "floats": lambda n: pa.array(n / 4, pa.float32()),
    "texts": lambda n: pa.array(text(n)),
    "large texts": lambda n: pa.array(text(n), pa.large_string()),
    "texts written alike": lambda n: pa.array([f" {k}" if k % 2 else f"{k}.0" for k in n]),
    "leading zeros": lambda n: pa.array([f"{k:03d}" for k in n]),
    "not ASCII": lambda n: pa.array([f"é{k}\U0001f600" for k in n]),
    "bytes": lambda n: pa.array([f"b{k}".encode() for k in n]),
    "a dictionary": lambda n: pa.DictionaryArray.from_arrays(
        pa.array(n, pa.int16()), [f"c{k}" for k in range(200)]
    ),
    "a dictionary of numbers": lambda n: pa.DictionaryArray.from_arrays(
        pa.array(n, pa.int8()), np.arange(500, 700)
    ),
    "booleans": lambda n: pa.array(n % 2 == 0),
    "dates": lambda n: pa.array([date(2020, 1, 1 + k % 28) for k in n]),
    "decimals": lambda n: pa.array([Decimal(int(k)) for k in n]),
}


@pytest.mark.parametrize("kind", ITEMS)
def test_ids_of_any_type(tmp_path: Path, place: Place, kind: str) -> None:
    rng = np.random.default_rng(1)
    table = pa.table(
        {"user": pa.array(rng.integers(0, 9, 60)), "item": ITEMS[kind](rng.integers(0, 9, 60))}
    )
    path = tmp_path / "ids.parquet"
    pq.write_table(table, path, row_group_size=7)
    check_same(path, place)


def test_uuids_are_read_as_their_texts(tmp_path: Path, place: Place) -> None:
    many = [uuid.UUID(int=3**70 * (k % 7) + 0x41) for k in range(60)]
    ids = pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([u.bytes for u in many], pa.binary(16))
    )
    path = tmp_path / "ids.parquet"
    pq.write_table(pa.table({"user": ids, "item": np.arange(60) % 9}), path, row_group_size=7)
    found = check_same(path, place).interactions
    assert set(found.vocabularies[0].ids) == set(map(str, many))


STAMPS = [1_500_000_000 + 1000 * k for k in range(30)]
MOMENTS = [datetime.fromtimestamp(second, UTC) for second in STAMPS]
TIMES: dict[str, Any] = {
    "seconds": pa.array(STAMPS),
    "seconds of int32": pa.array(STAMPS, pa.int32()),
    "seconds and zeros": pa.array([0, *STAMPS[1:]]),
    "seconds beyond int32": pa.array([2**33 + second for second in STAMPS]),
    "before 1970": pa.array([-second for second in STAMPS]),
    "floats": pa.array([second + 0.75 for second in STAMPS]),
    "milliseconds": pa.array([second * 1000 + 7 for second in STAMPS]),
    "nanoseconds": pa.array([second * 10**9 + 7 for second in STAMPS]),
    "counters": pa.array(range(30)),
    "dates as numbers": pa.array([int(f"{moment:%Y%m%d}") for moment in MOMENTS]),
    "a type": pa.array(MOMENTS, pa.timestamp("ms", tz="Europe/Berlin")),
    "without a zone": pa.array([m.replace(tzinfo=None) for m in MOMENTS], pa.timestamp("ns")),
    "dates": pa.array([moment.date() for moment in MOMENTS]),
    "ISO texts": pa.array([moment.replace(tzinfo=None).isoformat() for moment in MOMENTS]),
    "ISO texts with Z": pa.array([f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in MOMENTS]),
    "ISO dates": pa.array([f" {moment:%Y-%m-%d}" for moment in MOMENTS]),
    "zones": pa.array([moment.isoformat().replace("+00", "+02") for moment in MOMENTS]),
    "texts of numbers": pa.array(text(STAMPS)),
    "texts of milliseconds": pa.array([f"+{second}000" for second in STAMPS]),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_of_any_type(tmp_path: Path, place: Place, kind: str) -> None:
    ids = np.arange(30)
    table = pa.table({"user": ids % 5, "item": ids, "timestamp": TIMES[kind]})
    pq.write_table(table, tmp_path / "times.parquet", row_group_size=4)
    found = check_same(tmp_path / "times.parquet", place).interactions.timestamp
    assert found is not None
    narrow = found.min() >= 0 and found.max() < 2**31
    assert found.dtype == (np.int32 if narrow else np.int64)


RATINGS: dict[str, Any] = {
    "float16": pa.array(np.arange(30, dtype=np.float16)),
    "int8": pa.array(range(30), pa.int8()),
    "booleans": pa.array([k % 3 == 0 for k in range(30)]),
    "decimals": pa.array([Decimal(k) / 4 for k in range(30)]),
    "texts": pa.array([f"{k / 4}" for k in range(30)]),
    "decimal commas": pa.array([f"{k},5" for k in range(30)]),
    "a dictionary": pa.array([k / 4 for k in range(30)]).dictionary_encode(),
    "words": pa.array([str(k % 3 == 0) for k in range(30)]),
}


@pytest.mark.parametrize("kind", RATINGS)
def test_ratings_of_any_type(tmp_path: Path, place: Place, kind: str) -> None:
    ids = np.arange(30)
    table = pa.table({"rating": RATINGS[kind], "user": ids % 5, "item": ids})
    pq.write_table(table, tmp_path / "ratings.parquet", row_group_size=4)
    check_same(tmp_path / "ratings.parquet", place)


LINES = [f"u{k % 5},{k % 7},{k / 4},{1_500_000_000 + k}" for k in range(40)]
HEADER = "user,item,rating,timestamp"
BODY = "\n".join(LINES)
TEXTS: dict[str, str] = {
    "a header": f"{HEADER}\n{BODY}\n",
    "no header": BODY,
    "CRLF": f"{HEADER}\n{BODY}\n".replace("\n", "\r\n"),
    "a byte order mark": f"\ufeff{BODY}",
    "tabs": BODY.replace(",", "\t"),
    "two characters": BODY.replace(",", "::"),
    "spaces": BODY.replace(",", "  "),
    "a named separator": "sep=;\n" + f"{HEADER}\n{BODY}".replace(",", ";"),
    "decimal commas": BODY.replace(",", ";").replace(".", ","),
    "blank lines": f"{HEADER}\n\n{BODY}\n\n\n",
    "quotes": f"{HEADER}\n" + "\n".join(f'"a ""{k % 5}""\n,b",{k % 4},1,5' for k in range(40)),
    "a quote that nothing closes": BODY + '\nu9,1" disk,2,5\nu8,x,1,6\nu7,"y",3,7\n',
    "words": f"{HEADER}\n" + "\n".join(f"a{k % 3},{k % 4},{k % 2 == 0},5" for k in range(40)),
    "words in the end": f"{HEADER}\n{BODY}\nu1,99,True,1500000000",
    "dates": f"{HEADER}\n" + "\n".join(f"a{k % 3},{k},1,2020-01-{k + 1:02}" for k in range(28)),
    "further columns": f"x,{HEADER}\n" + "\n".join(f"NA,{line}" for line in LINES),
    "names that are missing elsewhere": f"{HEADER}\nNA,null,1,5\nnan,None,2,6\nNA,nan,3,7",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_texts_of_any_layout(
    tmp_path: Path, place: Place, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_source, "BLOCK", 100)
    path = tmp_path / "some.csv"
    path.write_bytes(TEXTS[kind].encode())
    check_same(path, place)


def test_packed_texts_and_atomic_files(tmp_path: Path, place: Place) -> None:
    path = tmp_path / "some.csv.gz"
    path.write_bytes(gzip.compress(TEXTS["a header"].encode()))
    check_same(path, place)
    path = tmp_path / "some.inter"
    path.write_text('user_id:token\titem_id:token\n"a\tb\na\t"c\na\tc"\n')
    check_same(path, place)


def test_roles_and_context(frame: pd.DataFrame, tmp_path: Path, place: Place) -> None:
    path = tmp_path / "some.parquet"
    frame["place"] = frame["item"] % 3
    frame["user, old"] = frame["user"]
    frame.drop(columns="user").to_parquet(path, row_group_size=50)
    columns = Columns(user="user, old", rating="", context=("place",))
    found = check_same(path, place, columns=columns).interactions
    assert found.fields == ("user", "item", "place") and found.rating is None
    assert "expected a column 'buyer'" in check_refused(path, place, columns=Columns(user="buyer"))


BAD: dict[str, tuple[str, list[Any]]] = {
    "a missing user": ("user", ["a", None, "b"]),
    "a blank user": ("user", ["a", "b", "  "]),
    "a long user": ("user", ["a", "b" * 600, "c"]),
    "a missing number": ("item", [1, 2, None]),
    "a float beyond": ("item", [1.0, 2.0**60, 3.0]),
    "a missing rating": ("rating", [1.0, None, 2.0]),
    "an infinite rating": ("rating", [1.0, 2.0, float("inf")]),
    "a word for a rating": ("rating", ["1", "good", "2"]),
    "a missing time": ("timestamp", [5, None, 6]),
    "a word for a time": ("timestamp", ["2020-01-01", "2020-01-02", "soon"]),
    "two units": ("timestamp", [1_500_000_000, 1_500_000_001, 1_500_000_002_000]),
    "nested values": ("user", [["a"], ["b"], ["c"]]),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_cells_are_refused_by_their_place(tmp_path: Path, place: Place, kind: str) -> None:
    role, cells = BAD[kind]
    columns = {"user": ["x", "y", "z"], "item": [1, 2, 3], "rating": [1.0, 2.0, 3.0]}
    columns["timestamp"] = [5, 6, 7]
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table({**columns, role: cells}), path)
    message = check_refused(path, place)
    assert str(path) in message and role in message
    if kind not in ("nested values", "a float beyond"):
        csv = tmp_path / "bad.csv"
        pd.DataFrame({**columns, role: cells}).to_csv(csv, index=False)
        check_refused(csv, place)


def test_bad_lines_are_refused(tmp_path: Path, place: Place) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("user,item\na,b\nc,d,e,f\n")
    check_refused(path, place)
    path.write_bytes(b"user,item\na,b\nc,\xff\n")
    assert "line 3: expected UTF-8 text, found byte 0xff" in check_refused(path, place)
    path.write_text("user,item\na,b\nc\n")
    with pytest.raises(DataError, match=r"bad.csv line 3: expected 2 columns, found 1"):
        load_dataset(path, stream=True, place=place)


def test_repeated_pairs_are_refused_by_the_first_again(tmp_path: Path, place: Place) -> None:
    path = tmp_path / "again.csv"
    path.write_text("user,item\nz,1\nz,2\na,1\nz,2\na,1\nz,1\n")
    assert "user 'z', item '2' again" in check_refused(path, place, duplicates="error")
    assert "data.duplicates" in check_refused(path, place, duplicates="none")
    assert "min_user 9" in check_refused(path, place, min_user=9)
    assert "data.min_rating" in check_refused(path, place, min_rating=1.0)
    assert "timestamp" in check_refused(path, place, order="time")


def test_truncated_files_are_refused(frame: pd.DataFrame, tmp_path: Path, place: Place) -> None:
    path = tmp_path / "some.parquet"
    frame.to_parquet(path, row_group_size=100)
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    check_refused(path, place)
    damaged = bytearray(whole)
    damaged[400:1200] = os.urandom(800)
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"some.parquet row group 1: expected a Parquet file"):
        load_dataset(path, stream=True, place=place)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"some.parquet: expected"):
        load_dataset(path, stream=True, place=place)


def test_too_many_ids_are_refused(
    frame: pd.DataFrame, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "MOST_IDS", 20)
    frame.to_parquet(tmp_path / "some.parquet")
    with pytest.raises(
        DataError, match=r"parquet: user: expected at most 20 different cells, found 23"
    ):
        load_dataset(tmp_path / "some.parquet", stream=True, place=place)
    assert not list(place.folder.glob("*"))


@pytest.mark.parametrize("protocol", ["ranking-per-user", "last-item", "temporal", "time-cut"])
def test_splits_are_those_of_rows_in_memory(
    frame: pd.DataFrame, tmp_path: Path, place: Place, protocol: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = tmp_path / "some.parquet"
    frame["timestamp"] = np.random.default_rng(0).permutation(N) + 1_500_000_000
    frame.to_parquet(path)
    known = make_split(load_dataset(path, stream=False), protocol, 3)
    monkeypatch.setattr("sif.data.interactions.parts._MOST_ROWS", 30)
    monkeypatch.setattr("sif.data.interactions.interactions._ROWS", 70)
    found = make_split(load_dataset(path, stream=True, place=place), protocol, 3)
    assert found.hash == known.hash and found.notes == known.notes
    assert found.part.tolist() == known.part.tolist()
    assert found.train.ids.dtype == np.int32


LINES = {
    "a header that ends with a carriage return": "user,item\r1,2\n2,3\n3,2\n",
    "carriage returns alone": "user,item\r1,2\r2,3\r3,2\r",
    "lines of spaces": "user,item\n1,2\n   \n2,3\n3,2\n  \t \n ",
    "lines of spaces between tabs": "user\titem\n1\t2\n   \r\n2\t3\n3\t2\n",
}


@pytest.mark.parametrize("kind", LINES)
def test_no_line_is_lost(tmp_path: Path, place: Place, kind: str) -> None:
    path = tmp_path / "some.csv"
    path.write_bytes(LINES[kind].encode())
    assert len(check_same(path, place).interactions) == 3


def test_commas_beside_points_are_refused_alike(tmp_path: Path, place: Place) -> None:
    path = tmp_path / "some.csv"
    path.write_text("user;item;rating\n1;2;3,5\n2;3;1.234\n3;2;4,5\n")
    assert "line 2: rating: expected a number, found '3,5'" in check_refused(path, place)


def test_kept_files_serve_later_readings(frame: pd.DataFrame, tmp_path: Path) -> None:
    path, place = tmp_path / "some.parquet", Place(tmp_path / "scratch", True)
    frame.to_parquet(path, row_group_size=100)
    rules = RULES["core of means by rows"]
    known = check_same(path, place, **rules)
    (folder,) = place.folder.iterdir()
    assert not list(folder.glob("*.codes")) and not (folder / scratch.JOURNAL).exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ParquetSource, "pieces", lambda *_: pytest.fail("read again"))
        check_equal(known, load_dataset(path, stream=True, place=place, **rules))
    os.utime(path, (1, 1))  # another file, perhaps
    check_same(path, place, **rules)
    assert len(list(place.folder.iterdir())) == 2


class _Full:
    """A disk on which only so many bytes fit."""

    def __init__(self, room: int) -> None:
        self.room = room

    def append(self, own: Any, name: str, data: Any, write: Callable[..., None]) -> None:
        size = memoryview(data).nbytes
        if size > self.room:
            with scratch.writing(own.folder):
                raise OSError(28, "No space left on device")
        self.room -= size
        write(own, name, data)


def test_a_full_disk_is_told_and_reading_goes_on(
    frame: pd.DataFrame, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "some.parquet"
    frame.to_parquet(path, row_group_size=40)
    known = load_dataset(path, stream=False)
    write = scratch.Scratch.append
    begun = []
    for room in (3_000, 5_000, 20_000, 4_000):  # the last ones in the second pass
        disk = _Full(room)
        monkeypatch.setattr(
            scratch.Scratch, "append", lambda *values, disk=disk: disk.append(*values, write)
        )
        with pytest.raises(DataError, match=r"written: No space left on device; .* data.scratch"):
            load_dataset(path, stream=True, place=place)
        (journal,) = place.folder.glob(f"*/{scratch.JOURNAL}")
        begun.append(json.loads(journal.read_text())["state"]["rows"])
    monkeypatch.setattr(scratch.Scratch, "append", write)
    assert 0 < begun[0] < begun[1] < begun[2] == begun[3] == N
    check_equal(known, load_dataset(path, stream=True, place=place))


def test_a_limit_of_files_is_told(tmp_path: Path, place: Place) -> None:
    path = tmp_path / "some.parquet"
    pq.write_table(pa.table({"user": range(9_000), "item": range(9_000)}), path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(DataError, match=r"scratch/.*: cannot be written: File too large"):
            load_dataset(path, stream=True, place=place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


SLOW = """
import sys, time
from pathlib import Path
from sif.data.load import load_dataset
from sif.data.streamed.load import Place
from sif.data.streamed.parquet_source import ParquetSource
pieces = ParquetSource.pieces
def slow(self, columns, mark=None):
    for number, piece in enumerate(pieces(self, columns, mark)):
        if number == 5:
            time.sleep(600)
        yield piece
ParquetSource.pieces = slow
load_dataset(sys.argv[1], stream=True, place=Place(Path(sys.argv[2]), False), order="rows")
"""


@pytest.mark.slow
def test_a_killed_reading_goes_on_behind_its_last_row_group(
    frame: pd.DataFrame, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of its own, which imports torch before it is killed."""
    path = tmp_path / "some.parquet"
    frame.to_parquet(path, row_group_size=40)
    reader = subprocess.Popen([sys.executable, "-c", SLOW, str(path), str(place.folder)])
    try:
        for _ in range(3000):
            rows = [
                json.loads(file.read_text())["state"]["rows"]
                for file in place.folder.glob(f"*/{scratch.JOURNAL}")
            ]
            if rows == [200]:
                break
            time.sleep(0.1)
    finally:
        reader.send_signal(signal.SIGKILL)
        reader.wait()
    assert rows == [200]
    (folder,) = place.folder.iterdir()
    with (folder / "user.codes").open("ab") as torn:  # half of a row group
        torn.write(b"half")
    begun = []
    pieces = ParquetSource.pieces

    def watched(self: ParquetSource, columns: list[int], mark: Any = None) -> Iterator[Any]:
        begun.append(mark)
        return pieces(self, columns, mark)

    monkeypatch.setattr(ParquetSource, "pieces", watched)
    check_same(path, place, order="rows")
    assert begun == [[5, 0]]


def test_large_row_groups_are_read_in_pieces_and_resumed_within(
    frame: pd.DataFrame, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "some.parquet"
    frame.to_parquet(path, row_group_size=300)
    monkeypatch.setattr(parquet_source, "ROWS", 70)
    check_same(path, place)
    source = ParquetSource.open(path)
    pieces = list(source.pieces([1]))
    assert len(pieces) > 4 and all(len(piece.batch) <= 70 for piece in pieces)
    assert sum(piece.size for piece in pieces) == pytest.approx(source.size, rel=0.01)
    for number, piece in enumerate(pieces):
        rest = source.pieces([1], json.loads(json.dumps(piece.mark)))
        again = [row for piece in rest for row in piece.batch.column(0).to_pylist()]
        known = [row for piece in pieces[number + 1 :] for row in piece.batch.column(0).to_pylist()]
        assert again == known


def test_a_fit_gets_the_parts_of_rows_in_memory(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sif.data.interactions.parts._MOST_ROWS", 30)
    path = tmp_path / "some.parquet"
    frame.to_parquet(path)
    settings = {"min_user": 3, "min_rating": 1.5, "scratch": tmp_path / "scratch"}
    known, found = (
        parts(path, None, 0, DataConfig(stream=stream, **settings)) for stream in (False, True)
    )
    for mine, theirs in zip(found, known, strict=True):
        assert mine.content_hash == theirs.content_hash
        assert mine.ids.dtype == np.int32 and theirs.ids.dtype == np.int64
    assert len(list((tmp_path / "scratch").iterdir())) == 1
