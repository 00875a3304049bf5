from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sif.data.interactions import Columns, Interactions, read_frame, read_interactions
from sif.errors import DataError

HEADER = "user,item,rating,timestamp\n"
ROWS = [("u 1", "007", 3.0, 30), ("ü2", "7", 4.5, 20), ("u 1", "x", 1.0, 10)]


def told(interactions: Interactions) -> list[tuple[str, str, float, int]]:
    users, items = (v.ids[interactions.ids[:, f]] for f, v in enumerate(interactions.vocabularies))
    assert interactions.rating is not None and interactions.timestamp is not None
    columns = (users.tolist(), items.tolist(), interactions.rating.tolist())
    return list(zip(*columns, interactions.timestamp.tolist(), strict=True))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def delimited(separator: str, header: str, end: str = "\n") -> str:
    lines = [header] if header else []
    lines += [separator.join(map(str, row)) for row in ROWS]
    return end.join(lines) + end


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", delimited(",", "user,item,rating,timestamp")),
        ("b.csv", delimited(",", "userId,movieId,Rating,unix time", "\r\n")),
        ("c.csv", "\ufeff" + delimited(";", "UID;Product-Id;stars;ts")),
        ("d.tsv", delimited("\t", "user_id\titem_id\tscore\ttime")),
        ("e.inter", delimited("\t", "user_id:token\titem_id:token\trating:float\ttimestamp:float")),
        ("f.txt", delimited("|", "user|item|rating|timestamp") + "\n \n"),
        ("g.dat", delimited("::", "user::item::rating::timestamp")),
    ],
)
def test_text_in_any_layout(tmp_path: Path, name: str, text: str) -> None:
    assert told(read_interactions(write(tmp_path / name, text))) == ROWS


@pytest.mark.parametrize(
    "header",
    [
        "user_id,product_id,event_time",
        "customer,sku,when",
        "Customer ID,StockCode,InvoiceDate",
        "client_id,article_id,order_date",
        "visitorid,itemid,timestamp",
        "buyer,product,created_at",
        "customer_id,article_id,t_dat",
        "member,track,played_at",
    ],
)
def test_usual_names_of_columns_are_recognized(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "a.csv", f"{header}\na,x,1970-01-02 UTC\nb,y,1970-01-01\n")
    data = read_interactions(path)
    assert [v.ids.tolist() for v in data.vocabularies] == [["a", "b"], ["x", "y"]]
    assert data.timestamp is not None and data.timestamp.tolist() == [86400, 0]


@pytest.mark.parametrize(
    ("header", "roles"),
    [
        ("user,item,age,price,quantity,event_type", (False, False)),
        ("product_name,customer_name,user_id,item_id,x,y", (False, False)),
        ("category,brand,user,item,count,year", (False, False)),
        ("timezone,created_by,user,item,weight,overtime", (False, False)),
        ("session,client,user,item,rating,event_time", (True, True)),
        ("product,artist,userId,movieId,score,ts", (True, True)),
    ],
)
def test_other_columns_are_not_taken_for_usual_ones(
    tmp_path: Path, header: str, roles: tuple[bool, bool]
) -> None:
    path = write(tmp_path / "a.csv", header + "\np,q,u,i,5,9\np,q,v,j,4,9\n")
    if header.startswith("user"):
        path = write(tmp_path / "a.csv", header + "\nu,i,p,q,5,9\nv,j,p,q,4,9\n")
    data = read_interactions(path)
    assert [v.ids.tolist() for v in data.vocabularies] == [["u", "v"], ["i", "j"]]
    assert (data.rating is not None, data.timestamp is not None) == roles


def test_columns_in_any_order_and_unused_ones(tmp_path: Path) -> None:
    text = "note,rating,item,timestamp,user\n" + "".join(
        f'"a, ""b""\n",{rating},{item},{time},{user}\n' for user, item, rating, time in ROWS
    )
    assert told(read_interactions(write(tmp_path / "a.csv", text))) == ROWS


def test_parquet_and_gzip(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS, columns=["user_id", "movieId", "rating", "timestamp"])
    frame["comment"] = "x"
    frame.to_parquet(tmp_path / "a.parquet")
    assert told(read_interactions(tmp_path / "a.parquet")) == ROWS
    with gzip.open(tmp_path / "a.csv.gz", "wt", encoding="utf-8") as stream:
        stream.write(delimited(",", "user,item,rating,timestamp"))
    assert told(read_interactions(tmp_path / "a.csv.gz")) == ROWS


def test_parquet_types(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "user": pd.array([3, 20, 3], dtype="Int64"),
            "item": [1.0, 2.0, 10.0],
            "rating": pd.array([1, 2, 3], dtype="Int32"),
            "timestamp": pd.to_datetime(
                ["1970-01-01T00:00:00", "1970-01-02T00:00:00", "2020-01-01T00:00:01"]
            ),
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    assert told(read_interactions(tmp_path / "a.parquet")) == [
        ("3", "1", 1.0, 0),
        ("20", "2", 2.0, 86400),
        ("3", "10", 3.0, 1577836801),
    ]
    frame.loc[1, "user"] = pd.NA
    frame.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet row 2: user: expected an id, found nothing$"):
        read_interactions(tmp_path / "b.parquet")
    frame = frame.assign(user=1, rating=[1.0, 2.0, np.inf])
    frame.to_parquet(tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"c\.parquet row 3: rating: .*, found 'inf'$"):
        read_interactions(tmp_path / "c.parquet")


def test_headerless_in_the_order_of_u_data(tmp_path: Path) -> None:
    path = write(tmp_path / "u.data", "196\t242\t3\t881250949\n22\t377\t1\t878887116\n")
    expected = [("196", "242", 3.0, 881250949), ("22", "377", 1.0, 878887116)]
    assert told(read_interactions(path)) == expected
    path = write(tmp_path / "r.txt", "196 242 3 881250949\n22 377  1 878887116\n")
    assert told(read_interactions(path)) == expected


def test_headerless_rows_of_different_length(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "1,2,3\n1,3,3,5\n")
    with pytest.raises(DataError, match=r"r\.csv line 2: expected 3 columns, found 4$"):
        read_interactions(path)


def test_columns_named_by_the_user(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "user,who,what,day,grade\n1,a,x,mon,5\n1,b,y,tue,4\n")
    columns = Columns(user="who", item="what", rating="grade", context=("day",))
    data = read_interactions(path, columns)
    assert data.fields == ("user", "item", "day")
    assert [v.ids.tolist() for v in data.vocabularies] == [["a", "b"], ["x", "y"], ["mon", "tue"]]
    assert data.rating is not None and data.rating.tolist() == [5, 4]
    assert data.timestamp is None
    assert read_interactions(path, Columns(item="what", rating="")).rating is None


def test_words_that_pandas_takes_for_missing_are_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "user,item\nNA,null\nnan,None\n")
    data = read_interactions(path)
    assert data.vocabularies[0].ids.tolist() == ["NA", "nan"]
    assert data.vocabularies[1].ids.tolist() == ["None", "null"]


def test_times_as_dates_and_fractions(tmp_path: Path) -> None:
    text = HEADER + "a,x,1,1970-01-02\na,y,1,1970-01-01T00:00:05.9Z\n"
    data = read_interactions(write(tmp_path / "a.csv", text))
    assert data.timestamp is not None and data.timestamp.tolist() == [86400, 5]
    data = read_interactions(write(tmp_path / "b.csv", HEADER + "a,x,1,1e9\na,y,1,5.9\n"))
    assert data.timestamp is not None and data.timestamp.tolist() == [10**9, 5]


def test_chunks_share_one_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sif.data.interactions.table_files._CHUNK", 2)
    rows = [(f"u{n % 3}", f"i{n % 4}", float(n), n) for n in range(11)]
    text = HEADER + "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in rows)
    assert told(read_interactions(write(tmp_path / "a.csv", text))) == rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,x,3,1\n" * 15 + "b,y,five,2\n", "line 17: rating: expected a number, found 'five'"),
        ("a,x,3,1\n\n\nb,y,five,2\n", "line 5: rating: expected a number, found 'five'"),
        ('"a\nb",x,3,1\nb,y,z,2\n', "line 4: rating: expected a number, found 'z'"),
        ("a,x,,1\n", "line 2: rating: expected a number, found nothing"),
        ("a,x,3,1\nb,y\n", "line 3: rating: expected a number, found nothing"),
        ("a,x,nan,1\n", "line 2: rating: expected a finite number, found 'nan'"),
        ("a,x,1,1\na,y,-inf,1\n", "line 3: rating: expected a finite number, found '-inf'"),
        ("a,x,1e300,1\n", "line 2: rating: expected a finite number, found '1e300'"),
        ("a,x,1,1\n,y,1,1\n", "line 3: user: expected an id, found nothing"),
        ("a, ,1,1\n", "line 2: item: expected an id, found nothing"),
        ("a,x,1,1\na,y,1,1,9\n", "line 3: expected 4 columns, found 5"),
        ("a,x,1,1\n\na,y,1,1,9,9,9\n", "line 4: expected 4 columns, found 7"),
        ("a,x,3,5,1\na,y,3,5,1\n", "line 2: expected 4 columns, found 5"),
        ("a,x,1,1\na,y,1,noon\n", "line 3: timestamp: expected .*, found 'noon'"),
        ("a,x,1,1.5\na,y,1,\n", "line 3: timestamp: expected .*, found nothing"),
        ("a,x,1,2020-01-01\na,y,1,2020-13-01\n", "line 3: timestamp: .*, found '2020-13-01'"),
        ("a,x,1,9999999999999999999\n", "line 2: timestamp: .*, found '9999999999999999999'"),
    ],
)
@pytest.mark.parametrize("chunk", [1 << 20, 1])
def test_bad_cells_are_named_by_line(
    tmp_path: Path, rows: str, message: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sif.data.interactions.table_files._CHUNK", chunk)
    path = write(tmp_path / "ratings.csv", HEADER + rows)
    with pytest.raises(DataError, match=rf"ratings\.csv {message}$") as error:
        read_interactions(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (b"", Columns(), "expected interactions, found an empty file"),
        (b"\n \n", Columns(), "expected rows, found only blank lines"),
        (HEADER.encode(), Columns(), "expected rows, found none after the header"),
        (
            HEADER.encode() + b"a,x,1,1\n",
            Columns(separator=";"),
            r"line 1 \(header, separator ';'\): user: .*found columns 'user,item,rating.*'",
        ),
        (
            b"who,what\na,x\n",
            Columns(user="whom"),
            r"line 1 .*: data.user: expected a column 'whom', found columns 'who', 'what'",
        ),
        (b"user,item\na,x\n", Columns(rating="item"), "different columns for item and rating.*"),
        (b"user,item\na,x\nb,caf\xe9\n", Columns(), "line 3: expected UTF-8 text, found byte 0xe9"),
        (b"\xff\xfeu\x00", Columns(), "found UTF-16 text; save it as UTF-8"),
        (b'user,item\na,"x\n', Columns(), "expected a table of text, found: .*"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, columns: Columns, message: str) -> None:
    path = tmp_path / "ratings.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"ratings\.csv.*{message}$") as error:
        read_interactions(path, columns)
    assert "\n" not in str(error.value)


def test_missing_files_folders_and_false_parquet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: expected a file, found no such file$"):
        read_interactions(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"found a folder$"):
        read_interactions(tmp_path)
    with pytest.raises(DataError, match=r"a\.parquet: expected a Parquet file, found: "):
        read_interactions(write(tmp_path / "a.parquet", HEADER))
    with pytest.raises(DataError, match=r"a\.csv\.gz: expected a table as .*, found: Not a gzip"):
        read_interactions(write(tmp_path / "a.csv.gz", HEADER))


WRONG_IDS = {  # and what is said of them; of a long one no more than its beginning
    "": "nothing",
    " ": "nothing",
    "a\0": "NUL characters, found 'a\\x00'",
    "x" * 513: f"at most 512 characters, found 513: '{'x' * 40}'...",
}


def names(error: Exception, place: str, wrong: str) -> bool:
    """True if the place, the column and the fault are named."""
    said = str(error)
    return said.startswith(f"{place}: user: ") and said.endswith(WRONG_IDS[wrong])


@pytest.mark.parametrize("wrong", WRONG_IDS, ids=lambda text: repr(text)[:8])
@pytest.mark.parametrize("dtype", ["object", "string", "category"])
def test_ids_of_a_frame_are_neither_blank_nor_cut_off(wrong: str, dtype: str) -> None:
    frame = pd.DataFrame({"user": ["a", "b", wrong, "a"], "item": ["x", "y", "x", "z"]})
    if dtype == "category" and "\0" in wrong:
        pytest.skip("pandas itself takes the two for one")
    frame["user"] = frame["user"].astype(dtype)
    with pytest.raises(DataError) as caught:
        read_frame(frame)
    assert names(caught.value, "data frame row 3", wrong)
    assert len(read_frame(frame.drop(index=2))) == 3


@pytest.mark.parametrize("rows", [2, 5])
def test_ids_of_a_file_are_not_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr("sif.data.interactions.table_files._CHUNK", rows)
    long = "x" * 513
    for wrong in (long, "a\0"):
        frame = pd.DataFrame({"user": ["a", "b", wrong], "item": ["x", "y", "z"]})
        frame.to_parquet(tmp_path / "a.parquet")
        with pytest.raises(DataError) as caught:
            read_interactions(tmp_path / "a.parquet")
        assert names(caught.value, f"{tmp_path}/a.parquet row 3", wrong)
    path = write(tmp_path / "a.csv", f"item,user\na,x\n\nb,y\nb,{long}\n")
    with pytest.raises(DataError) as caught:
        read_interactions(path)
    assert names(caught.value, f"{path} line 5", long)


def test_mixed_ids_of_a_frame_are_one_where_they_are_written_alike() -> None:
    frame = pd.DataFrame({"user": [7, "7", 8.0, "x"], "item": ["a", "b", "c", "d"]}, dtype=object)
    data = read_frame(frame)
    assert data.vocabularies[0].ids.tolist() == ["7", "8", "x"]
    assert data.ids[:, 0].tolist() == [0, 0, 1, 2]


def clicks(separator: str = ",", header: str = "user,item,rating") -> bytes:
    lines = [header, *(f"u{n % 5},i{n % 7},{n % 5 + 1}" for n in range(30))]
    return "".join(line.replace(",", separator) + "\n" for line in lines if line).encode()


def zipped(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def zst(content: bytes) -> bytes:
    stream = pa.BufferOutputStream()
    with pa.CompressedOutputStream(stream, "zstd") as packed:
        packed.write(content)
    return stream.getvalue().to_pybytes()


@pytest.mark.parametrize("name", ["a.csv", "a.gz"])
@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, zst, lambda c: zipped(**{"x/a.csv": c})]
)
def test_packed_texts_are_read_whatever_their_name(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    (tmp_path / name).write_bytes(pack(clicks()))
    (tmp_path / "plain.csv").write_bytes(clicks())
    plain = read_interactions(tmp_path / "plain.csv")
    assert read_interactions(tmp_path / name).content_hash == plain.content_hash


def test_feather_and_a_renamed_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS, columns=["user", "item", "rating", "timestamp"])
    frame.to_feather(tmp_path / "a.csv")
    frame.to_parquet(tmp_path / "b.csv")
    assert told(read_interactions(tmp_path / "a.csv")) == ROWS
    assert told(read_interactions(tmp_path / "b.csv")) == ROWS


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b'[{"user": 1}]', "JSON"),
        (b'{"user": 1}\n{"user": 2}\n', "JSON"),
        (gzip.compress(b'{"user": 1}\n', mtime=0), "JSON"),
        (b"<!DOCTYPE html>", "a web page"),
        ("user,item\n".encode("utf-16"), "UTF-16 text; save it as UTF-8"),
        (zipped(**{"[Content_Types].xml": b"", "a": b""}), "an Excel workbook; save it as CSV"),
        (zipped(**{"user.npy": b"", "item.npy": b""}), "item: expected a plain array, found: EOF"),
        (zipped(a=b"", b=b"", c=b"", d=b""), "4: a, b, c, ..."),
        (zipped(), "an empty zip"),
        (b"SQLite format 3\0", "an SQLite database"),
        (gzip.compress(b"PAR1", mtime=0), "a compressed Parquet file; unpack it"),
        (b"\x7fELF\0", "line 1: expected text without NUL characters, found one after '.x7fELF'"),
    ],
)
def test_other_kinds_are_named(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=found) as error:
        read_interactions(tmp_path / "a.csv")
    assert str(error.value).startswith(f"{tmp_path}/a.csv")


def test_a_line_that_names_the_separator_and_decimal_commas(tmp_path: Path) -> None:
    rows = "".join(f"u{n % 5};i{n % 7};{n % 4},5\n" for n in range(30))
    for first in ("sep=;\n", '"sep=;"\r\n', "\ufeffSEP=;\n"):
        path = write(tmp_path / "a.csv", f"{first}user;item;rating\n{rows}")
        data = read_interactions(path)
        assert data.rating is not None and data.rating.tolist() == [n % 4 + 0.5 for n in range(30)]
        write(path, f"{first}user;item;rating\n{rows}u;i;x\n")
        with pytest.raises(DataError, match=r"line 33: rating: expected a number, found 'x'$"):
            read_interactions(path)
    path = write(tmp_path / "b.csv", "user;item;rating\na;x;1,234\nb;y;2,000\n")
    with pytest.raises(DataError, match=r"line 2: rating: expected a number, found '1,234'$"):
        read_interactions(path)


def test_a_first_line_of_data_is_no_header(tmp_path: Path) -> None:
    rows = "".join(f"A{n % 5}X,s{n % 7},{n % 4}.0,17000000{n:02}\n" for n in range(30))
    path = write(tmp_path / "a.csv", rows)
    data = read_interactions(path)
    assert len(data) == 30 and data.timestamp is not None and data.timestamp[1] == 1700000001
    (note,) = (note for note in data.notes if "no header" in note)
    assert note == f"{path} line 1: no header: columns user, item, rating, timestamp"
    for header in ("user,what,2020", "who,item,1", "who,what,7"):
        write(path, f"{header}\na,x,1\nb,y,2\n")
        names = header.split(",")
        data = read_interactions(path, Columns(user=names[0], item=names[1]))
        assert len(data) == 2 and data.rating is None


@pytest.mark.parametrize("separator", ["", "\n", '"', "\0", "a\r"])
def test_separators_that_cannot_separate(tmp_path: Path, separator: str) -> None:
    path = write(tmp_path / "a.csv", "user,item\na,x\n")
    with pytest.raises(DataError, match=r"data\.separator: expected .*, found "):
        read_interactions(path, Columns(separator=separator))


def test_separators_beyond_ascii(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(clicks("§"))
    assert len(read_interactions(tmp_path / "a.csv", Columns(separator="§"))) == 30


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (b"a\0b,c\na\0c,d\n", "line 2: expected text without NUL characters, found one after 'a'"),
        (b"1,2\n" * 9 + b"1" * (1 << 23), "line 11: expected fewer than 4,194,304 bytes"),
        (b"1,2\n" * 9 + b'"1,2\n' * 9, "EOF inside string"),
    ],
)
def test_cells_that_a_parser_would_cut_or_swallow(tmp_path: Path, rows: bytes, found: str) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"user,item\n" + rows, mtime=0))
    with pytest.raises(DataError, match=found):
        read_interactions(tmp_path / "a.csv.gz")


@pytest.mark.parametrize("exponent", ["309151515151515151515", "4294967297", "-" + "9" * 30])
def test_numbers_at_which_pandas_ends_the_process_or_errs(tmp_path: Path, exponent: str) -> None:
    path = write(tmp_path / "a.csv", f"user,item,rating\na,x,1\nb,y,1e{exponent}\n")
    if exponent.startswith("-"):
        data = read_interactions(path)
        assert data.rating is not None and data.rating.tolist() == [1, 0]
    else:
        with pytest.raises(DataError, match="line 3: rating: expected a finite number"):
            read_interactions(path)


def test_a_blank_line_of_a_carriage_return_moves_no_cell(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "user,item,x\na,x,1\r\r,b,y\n")
    with pytest.raises(DataError, match="user: expected an id, found nothing"):
        read_interactions(path)


def parquet(path: Path, metadata: dict[bytes, bytes] | None = None, **columns: Any) -> Path:
    table = pa.table({"user": [str(n % 5) for n in range(30)], "item": list(range(30)), **columns})
    pq.write_table(table.replace_schema_metadata(metadata), path, write_page_checksum=True)
    return path


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([[1, 2]] * 30, "column 'user': expected single values, found list<element: int64>"),
        ([{"a": 1}] * 30, "column 'user': expected single values, found struct<a: int64>"),
        ([b"\xff"] * 30, "column 'user': expected values of type binary, found: Invalid UTF8"),
        (
            pa.array([2**31 - 1] * 30, pa.int32()).cast(pa.date32()),
            "column 'user': .* out of range",
        ),
        ([None] * 30, "row 1: user: expected an id, found nothing"),
    ],
)
def test_columns_of_parquet_without_ids(tmp_path: Path, values: Any, found: str) -> None:
    path = parquet(tmp_path / "a.parquet", user=values)
    with pytest.raises(DataError, match=found) as error:
        read_interactions(path)
    assert str(error.value).startswith(str(path))


def test_bytes_of_parquet_are_texts(tmp_path: Path) -> None:
    values = pa.array([b"a", "ü".encode(), b"a"] * 10)
    for column in (values, values.dictionary_encode()):
        data = read_interactions(parquet(tmp_path / "a.parquet", user=column))
        assert data.vocabularies[0].ids.tolist() == ["a", "ü"]


@pytest.mark.parametrize(
    "metadata", [b"{}", b"\xff", b"[]", b'{"index_columns": ["user"], "columns": [1]}']
)
def test_what_a_parquet_notes_for_pandas_is_not_asked(tmp_path: Path, metadata: bytes) -> None:
    path = parquet(tmp_path / "a.parquet", {b"pandas": metadata})
    assert read_interactions(path).sizes == (5, 30)


def test_an_index_of_a_parquet_is_a_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"item": ["x", "y"]}, index=pd.Index(["a", "b"], name="user"))
    frame.to_parquet(tmp_path / "a.parquet")
    assert read_interactions(tmp_path / "a.parquet").vocabularies[0].ids.tolist() == ["a", "b"]


def test_names_that_two_columns_have(tmp_path: Path) -> None:
    values = [pa.array(["a", "b"])] * 3
    pq.write_table(pa.Table.from_arrays(values, ["user", "item", "item"]), tmp_path / "a.parquet")
    write(tmp_path / "a.csv", "user,item,item\na,x,y\nb,x,y\n")
    for name in ("a.parquet", "a.csv"):
        with pytest.raises(DataError, match=r"item: expected one column 'item', found 2$"):
            read_interactions(tmp_path / name)
    frame = pd.DataFrame([["a", "x", "y"]], columns=["user", "item", "item"])
    with pytest.raises(DataError, match=r"item: expected one column 'item', found 2$"):
        read_frame(frame)
    pq.write_table(pa.Table.from_arrays(values * 2, [*"xx", "user", "item", *"yy"]),
                   tmp_path / "b.parquet")  # fmt: skip
    assert len(read_interactions(tmp_path / "b.parquet")) == 2


def test_a_bit_of_a_checked_parquet(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet")
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"0") + 20] ^= 1
    path.write_bytes(whole)
    with pytest.raises(DataError, match="expected a Parquet file, found: "):
        read_interactions(path)


def test_rows_of_a_parquet_that_its_bytes_cannot_hold(tmp_path: Path) -> None:
    same = np.zeros(3_000_000, dtype=np.int8)
    pq.write_table(pa.table({"user": same, "item": same}), tmp_path / "a.parquet",
                   data_page_size=1 << 30, row_group_size=1 << 30, max_rows_per_page=1 << 30,
                   write_batch_size=1 << 30, compression="zstd")  # fmt: skip
    with pytest.raises(DataError, match=r"at most 1,000 rows a byte, found 3,000,000 in \d+"):
        read_interactions(tmp_path / "a.parquet")


@pytest.mark.parametrize(("name", "said"), [
    ("bought_on", True), ("delivery_date", True), ("sold at", True), ("date_of_order", True),
    ("clicked_at", True), ("clickedAt", True), ("click_ts", True), ("timestamp_utc", True),
    ("watch_timestamp", True), ("visit-day", True), ("flat", False), ("position", False),
    ("price", False), ("season", False), ("format", False),
])  # fmt: skip
def test_columns_that_may_have_times_are_named(name: str, said: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"shopper,article,{name}\na,x,2024-01-02\n")
    columns = Columns(user="shopper")
    notes = read_interactions(path, columns).notes
    told = "columns read: user=shopper, item=article; no times; "
    expected = (f"{told}{name} looks like times: pass data.timestamp={name} to read it",)
    assert notes == (expected if said else ())
    assert read_interactions(path, replace(columns, timestamp="")).notes == ()
