"""Damaged files of interactions: one clear line, at once, or the ids that the file has.

Two thousand of each:  SIF_FUZZ_TRIALS=2000 pytest -s tests/fuzz/test_readers.py
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import resource
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sif.cli.recommendations import read_ids
from sif.data.interactions import Interactions, load_split_file, read_interactions
from sif.data.interactions.movielens import read_movielens
from sif.errors import LONGEST, SifError

ROWS = 40
Pairs = list[tuple[str, str]]
SECONDS: list[float] = []
"""Of each answer."""
PIECES = (
    b"\0", b"\n", b"\r", b"\r\n", b"\t", b",", b";", b"|", b"::", b'"', b'""', b"'", b"\\", b" ",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xe9", b"\xc3", b"\xed\xa0\x80", "\u2028ü\u0085".encode(),
    b"user", b"item", b"sep=;\n", b"sep=", b"nan", b"-inf", b"1e309", b"1e18", b"9" * 20,
    b"0x10", b"1_000", b"4,5", b"2024-02-31", b"true", b"None", b"-", b"x" * 600, b"9" * 400,
    b"{", b"[", b"PAR1", b"PK\x03\x04", b"\x1f\x8b", b"BZh9", b"<html>", b"\x80\x04", b"user,item",
)  # fmt: skip


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes with a few bits flipped, pieces put in, cut out, overwritten or repeated."""
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(data) + 1))
        end = min(len(data), place + int(rng.choice([1, 4, 16, 100])))
        match int(rng.integers(6)):
            case 0:
                flipped = bytearray(data)
                for at in rng.integers(0, max(1, len(data)), int(rng.integers(1, 9))):
                    if data:
                        flipped[at] ^= 1 << int(rng.integers(8))
                data = bytes(flipped)
            case 1:
                data = data[:place]
            case 2:
                piece = PIECES[int(rng.integers(len(PIECES)))] * int(rng.choice([1, 1, 2, 50]))
                data = data[:place] + piece + data[place:]
            case 3:
                data = data[:end] + data[place:end] * int(rng.choice([1, 2, 100])) + data[end:]
            case 4:
                data = data[:place] + data[end:]
            case _:
                data = data[:place] + rng.bytes(end - place) + data[end:]
    return data


def table(rng: np.random.Generator) -> dict[str, list[Any]]:
    """Columns of a valid file."""
    ids = np.array(["7", "007", "ü x", "a'b", "long-id-" * 4, "12", "b", "c"])
    return {
        "user": ids[rng.integers(0, 8, ROWS)].tolist(),
        "item": ids[rng.integers(0, 8, ROWS)].tolist(),
        "rating": (rng.integers(1, 11, ROWS) / 2).tolist(),
        "timestamp": rng.integers(10**9, 2 * 10**9, ROWS).tolist(),
    }


def text(rng: np.random.Generator, separator: str, types: bool = False) -> bytes:
    """A valid text file."""
    columns = table(rng)
    kinds = ("token", "token", "float", "float")
    names = [f"{n}:{k}" if types else n for n, k in zip(columns, kinds, strict=True)]
    rows = [names, *zip(*columns.values(), strict=True)]
    return "".join(separator.join(map(str, row)) + "\n" for row in rows).encode()


def plain(value: Any) -> str:
    """An id in the form that all columns have."""
    written = str(value).strip()
    return written.partition(".")[0] if re.fullmatch(r"-?\d+\.0+", written) else written


def in_text(data: bytes, separator: str, quoting: int) -> Pairs | None:
    """The ids of a text as the csv module reads it; None where its header is damaged too."""
    stream = io.StringIO(data.decode("utf-8-sig"), newline="")
    rows = [row for row in csv.reader(stream, delimiter=separator, quoting=quoting)
            if len(row) > 1 or (row and row[0].strip())]  # fmt: skip
    names = [cell.split(":")[0] for cell in rows[0]]
    if names != ["user", "item", "rating", "timestamp"]:
        return None
    return [(plain(row[0]), plain(row[1])) for row in rows[1:]]


def told(data: Interactions) -> Pairs:
    """The ids that were read."""
    users, items = (v.ids[data.ids[:, f]].tolist() for f, v in enumerate(data.vocabularies))
    return [(plain(user), plain(item)) for user, item in zip(users, items, strict=True)]


def same(pairs: Pairs) -> Pairs:
    """Ids by where they first stand: equal for two columns if the same rows are one in both."""
    columns = ([pair[side] for pair in pairs] for side in (0, 1))
    firsts = [[str(column.index(value)) for value in column] for column in columns]
    return list(zip(*firsts, strict=True))


@contextmanager
def border(trial: str) -> Iterator[None]:
    """What is wrong is one line of at most 300 characters, at once."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SifError as error:
        assert "\n" not in str(error) and len(str(error)) <= LONGEST, (trial, str(error))
    except AssertionError:
        raise
    except Exception as error:  # whatever it is, the trial is named
        raise AssertionError(f"{trial}: {type(error).__name__}: {error}") from error
    SECONDS.append(time.perf_counter() - start)
    assert SECONDS[-1] < 5, trial


@contextmanager
def figures(kind: str, trials: int) -> Iterator[list[int]]:
    """Says how many of the trials were read, the slowest one's seconds and the peak memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read: list[int] = []
    SECONDS.clear()
    yield read
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    longest = max(SECONDS)
    print(f"{kind}: {trials} trials, {len(read)} read, {longest:.2f} s at most, {peak >> 10} MB")
    assert peak - before < 500 << 10


def check(trial: str, path: Path, read: list[int], expected: Callable[[], Pairs | None]) -> None:
    """Reads a file as a job and as `recommend --users` does."""
    with border(trial):
        data = told(read_interactions(path))
        read.append(1)
        assert expected() in (None, data, same(data)), trial
    with border(trial):
        read_ids(path, "user")


@pytest.mark.parametrize(
    ("name", "separator"),
    [("a.csv", ","), ("a.tsv", "\t"), ("a.inter", "\t"), ("a.dat", "::"), ("a.csv.gz", ",")],
)
def test_damaged_texts(name: str, separator: str, trials: int, tmp_path: Path) -> None:
    path = tmp_path / name
    quoting = csv.QUOTE_NONE if name == "a.inter" else csv.QUOTE_MINIMAL
    whole = text(np.random.default_rng(0), separator, types=name == "a.inter")
    path.write_bytes(gzip.compress(whole) if name.endswith(".gz") else whole)
    assert len(read_interactions(path)) == ROWS
    with figures(name, trials) as read:
        for seed in range(trials):
            rng = np.random.default_rng(seed)
            data = text(rng, separator, types=name == "a.inter")
            packed = name.endswith(".gz")
            if packed and rng.random() < 0.7:
                path.write_bytes(damaged(gzip.compress(data), rng))
            else:
                data = damaged(data, rng)
                path.write_bytes(gzip.compress(data) if packed else data)

            def expected() -> Pairs | None:
                if separator == "::":
                    return None
                content = path.read_bytes()
                content = gzip.decompress(content) if packed else content  # noqa: B023
                return in_text(content, separator, quoting)

            check(f"{name} seed {seed}", path, read, expected)


def odd_columns(rng: np.random.Generator) -> list[Any]:
    """Columns of types that ids, ratings or times seldom have."""
    numbers = rng.integers(0, 9, ROWS)
    objects, few = numbers.tolist(), numbers.astype(np.int8)
    far = [10**12, -(10**12), 0, 1] * (ROWS // 4)
    words = [str(n) for n in objects]
    dictionary = pa.DictionaryArray.from_arrays(pa.array(few), pa.array(words[:9] + ["z"] * 9))
    return [
        pa.array([[1, 2]] * ROWS), pa.array([{"a": 1}] * ROWS), pa.array([[("a", 1)]] * ROWS,
        pa.map_(pa.string(), pa.int64())), pa.array([b"a", b"\xff"] * (ROWS // 2)),
        pa.array([w.encode() for w in words]), pa.array([b"ab"] * ROWS, pa.binary(2)),
        pa.array(words, pa.large_string()), pa.array(objects, pa.decimal128(9, 2)),
        pa.array(objects, pa.date32()), pa.array([2**31 - 1] * ROWS, pa.int32()).cast(pa.date32()),
        pa.array(objects, pa.time64("us")), pa.array(objects, pa.duration("s")),
        pa.array(far, pa.timestamp("s")), pa.array(objects, pa.timestamp("ms", "Europe/Paris")),
        pa.array([2**62] * ROWS, pa.timestamp("us")), pa.array(objects, pa.timestamp("ns")),
        pa.array([True, False] * (ROWS // 2)), pa.nulls(ROWS), pa.array([None, "a"] * (ROWS // 2)),
        pa.array([None, 1] * (ROWS // 2)), pa.array([None, True] * (ROWS // 2)),
        pa.array([2**64 - 1] * ROWS, pa.uint64()), pa.array([-(2**63)] * ROWS, pa.int64()),
        pa.array(np.full(ROWS, np.nan)), pa.array(np.full(ROWS, 1e300)), pa.array([1.5] * ROWS),
        pa.array(numbers.astype(np.float16)), pa.array(["a\0b", "a\0c"] * (ROWS // 2)),
        pa.array([""] * ROWS), pa.array(["x" * 600] * ROWS), dictionary,
        pa.array(words).dictionary_encode(), pa.array([b"a", b"\xff"] * (ROWS // 2))
        .dictionary_encode(), pa.array(words, pa.string()), pa.array(objects, pa.int8()),
    ]  # fmt: skip


def odd_parquet(rng: np.random.Generator) -> pa.Table:
    """A table with odd columns, names or metadata."""
    columns = {name: pa.array(values) for name, values in table(rng).items()}
    names = list(columns)
    arrays = list(columns.values())
    odd = odd_columns(rng)
    for _ in range(int(rng.integers(1, 3))):
        arrays[int(rng.integers(len(arrays)))] = odd[int(rng.integers(len(odd)))]
    if rng.random() < 0.2:
        names[int(rng.integers(4))] = str(rng.choice(["item", "user", "", "a.b", "ü", "x" * 400]))
    if rng.random() < 0.1:
        keep = int(rng.integers(0, 3))
        names, arrays = names[:keep], arrays[:keep]
    made = pa.Table.from_arrays(arrays, names=names)
    if rng.random() < 0.3:
        junk = [b"{}", b"[]", b"x", b"\xff", b'{"index_columns": ["user"], "columns": []}',
                b'{"index_columns": [{"kind": "range"}], "columns": [1]}']  # fmt: skip
        made = made.replace_schema_metadata({b"pandas": junk[int(rng.integers(len(junk)))]})
    return made.slice(0, int(rng.choice([0, 1, ROWS, ROWS, ROWS])))


def test_damaged_parquet(trials: int, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(table(np.random.default_rng(0))), path)
    assert len(read_interactions(path)) == ROWS
    with figures("a.parquet", trials) as read:
        for seed in range(trials):
            rng = np.random.default_rng(seed)
            structured = rng.random() < 0.4
            made = odd_parquet(rng) if structured else pa.table(table(rng))
            compression = str(rng.choice(["none", "snappy", "gzip", "zstd"]))
            pq.write_table(
                made, path, compression=compression, write_page_checksum=True,
                row_group_size=int(rng.choice([7, 1000])), use_dictionary=bool(rng.random() < 0.5),
            )  # fmt: skip
            if not structured or rng.random() < 0.2:
                path.write_bytes(damaged(path.read_bytes(), rng))

            def expected() -> Pairs | None:
                with pq.ParquetFile(path, page_checksum_verification=True) as file:
                    made = file.read(["user", "item"])
                for place, kind in enumerate(made.schema):
                    if pa.types.is_timestamp(kind.type):  # Python's own end with the year 9999
                        numbers = made.column(place).cast(pa.int64())
                        made = made.set_column(place, kind.name, numbers)
                columns = made.to_pydict()
                texts = [
                    [plain(v.decode() if isinstance(v, bytes) else v) for v in columns.get(n, ())]
                    for n in ("user", "item")
                ]
                pairs = list(zip(*texts, strict=True))
                return same(pairs) if structured else pairs  # noqa: B023

            check(f"a.parquet seed {seed}", path, read, expected)


def npy(header: str, body: bytes, version: bytes = b"\x01\x00") -> bytes:
    """The file of an array with any header."""
    length = len(header).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + length + header.encode("latin-1", "replace") + body


def odd_members(rng: np.random.Generator) -> list[Any]:
    """Arrays and members that no split has."""
    numbers = rng.integers(0, 9, ROWS)
    huge = "{'descr': '<i8', 'fortran_order': False, 'shape': (100000000000,), }\n"
    return [
        np.array(0), np.zeros(0), numbers.reshape(2, -1), numbers[:-1], numbers.astype(object),
        numbers > 3, numbers + 1j, numbers.astype(str), numbers.astype("S"), np.full(ROWS, b"\xff"),
        numbers.astype("M8[s]"), np.zeros(ROWS, "i4,f8"), np.full(ROWS, 2**64 - 1, np.uint64),
        np.full(ROWS, np.nan), np.full(ROWS, 1e300), numbers / 2, numbers.astype(np.float16),
        numbers.astype(">i8"), -numbers, np.array(["\ud800"] * ROWS), np.array(["x" * 600] * ROWS),
        np.array(["a\0b"] * ROWS), np.asfortranarray(numbers), np.zeros((ROWS, 0)),
        npy(huge, b""), npy(huge, b"\0" * 320), npy(huge, b"", b"\x02\x00"), npy("{", b""),
        npy(huge.replace("<i8", "|O"), b""), npy(huge.replace("100000000000", "-40"), b"\0" * 320),
        npy(huge.replace("100000000000", "2**60"), b""), npy("[" * 900, b""), b"", b"junk",
        npy(huge.replace("<i8", "V99999999"), b""), npy(huge, b"", b"\x09\x00"),
        npy("\xff" * 99, b""),
    ]  # fmt: skip


def split_arrays(rng: np.random.Generator) -> dict[str, Any]:
    """The arrays of a valid split."""
    pairs = rng.permutation(81)[:ROWS]
    return {
        "user": pairs // 9, "item": pairs % 9, "part": np.arange(ROWS) % 3,
        "rating": rng.integers(1, 6, ROWS), "timestamp": rng.integers(0, 10**9, ROWS),
        "user_ids": np.arange(9) * 11, "item_ids": np.array(list("abcdefghi")),
    }  # fmt: skip


def write_npz(path: Path, members: dict[str, Any], packed: bool) -> None:
    """Arrays as numpy writes them, and bytes as they are."""
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, member in members.items():
            content = member
            if not isinstance(member, bytes):
                stream = io.BytesIO()
                np.save(stream, member, allow_pickle=True)
                content = stream.getvalue()
            archive.writestr(f"{name}.npy", content)


def test_damaged_npz(trials: int, tmp_path: Path) -> None:
    path = tmp_path / "split.npz"
    write_npz(path, split_arrays(np.random.default_rng(0)), packed=True)
    assert len(load_split_file(path).interactions) == ROWS
    with figures("split.npz", trials) as read:
        for seed in range(trials):
            rng = np.random.default_rng(seed)
            members = split_arrays(rng)
            structured = rng.random() < 0.6
            for _ in range(int(rng.integers(1, 3)) * structured):
                odd = odd_members(rng)
                members[list(members)[int(rng.integers(7))]] = odd[int(rng.integers(len(odd)))]
            if structured and rng.random() < 0.2:
                del members[list(members)[int(rng.integers(7))]]
            write_npz(path, members, packed=bool(rng.random() < 0.5))
            if not structured:
                path.write_bytes(damaged(path.read_bytes(), rng))
            with border(f"split.npz seed {seed}"):
                pairs = told(load_split_file(path).interactions)
                read.append(1)
                with np.load(path) as good:
                    ids = [
                        good[f"{n}_ids"][good[n].astype(int)] if f"{n}_ids" in good else good[n]
                        for n in ("user", "item")
                    ]
                texts = [[plain(v.decode() if isinstance(v, bytes) else v) for v in values]
                         for values in ids]  # fmt: skip
                assert pairs == list(zip(*texts, strict=True)), seed


@pytest.mark.parametrize(
    ("ratings", "titles", "separator"),
    [
        ("u.data", "u.item", "|"),
        ("ratings.dat", "movies.dat", "::"),
        ("ratings.csv", "movies.csv", ","),
    ],
)
def test_damaged_titles(
    ratings: str, titles: str, separator: str, trials: int, tmp_path: Path
) -> None:
    between = {"u.data": "\t", "ratings.dat": "::", "ratings.csv": ","}[ratings]
    rows = [between.join(map(str, (n % 7, n % 9, 3, n))) for n in range(ROWS)]
    (tmp_path / ratings).write_text("".join(f"{row}\n" for row in rows))
    whole = "".join(f"{n}{separator}Title {n} (19{n}0){separator}x\n" for n in range(9)).encode()
    with figures(titles, trials) as read:
        for seed in range(trials):
            rng = np.random.default_rng(seed)
            (tmp_path / titles).write_bytes(damaged(whole, rng))
            with border(f"{titles} seed {seed}"):
                read_movielens(tmp_path)
                read.append(1)
