"""Files read a few rows at a time say what they say when read at once."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sif.data.interactions import Interactions, read_interactions
from sif.data.interactions import table_files as tables
from sif.data.interactions import text_records as records
from sif.data.interactions.text_records import open_replaced
from sif.errors import DataError

N = 23


def frame() -> pd.DataFrame:
    draws = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "user": draws.integers(1, 9, N),
            "item": [f"0{i}" if i % 2 else f"{i}" for i in draws.integers(1, 7, N)],
            "rating": draws.integers(1, 11, N) / 2,
            "timestamp": draws.integers(0, 10**9, N),
        }
    )


def write(folder: Path, kind: str) -> Path:
    path, data = folder / f"a.{kind}", frame()
    if kind == "parquet":
        data.to_parquet(path, row_group_size=5)
    elif kind == "dat":
        lines = ["::".join(map(str, row)) for row in data.itertuples(index=False)]
        path.write_text("user::item::rating::timestamp\n" + "\n".join(lines) + "\n")
    else:
        data.to_csv(path, index=False)
    return path


def in_chunks(path: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> Interactions:
    with monkeypatch.context() as patch:
        patch.setattr(tables, "_CHUNK", rows)
        patch.setattr(records, "_PIECE", rows)
        return read_interactions(path)


@pytest.mark.parametrize("kind", ["csv", "dat", "parquet"])
@pytest.mark.parametrize("rows", [1, 4, 23])
def test_the_same_interactions(
    kind: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, kind)
    whole, parts = read_interactions(path), in_chunks(path, rows, monkeypatch)
    assert whole.content_hash == parts.content_hash
    assert len(parts) == N
    assert parts.vocabularies[1].ids.tolist() == sorted(
        set(frame()["item"]), key=lambda text: (int(text), text)
    )


@pytest.mark.parametrize("kind", ["csv", "dat"])
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("rating", "five", "rating: expected a number, found 'five'"),
        ("user", "", "user: expected an id, found nothing"),
        ("timestamp", "soon", "timestamp: expected seconds since 1970 or an ISO date, found"),
    ],
)
def test_a_bad_cell_is_found_at_its_line(
    kind: str, column: str, value: str, message: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = write(tmp_path, kind)
    lines = path.read_text().splitlines()
    separator = "::" if kind == "dat" else ","
    cells = lines[17].split(separator)
    cells[list(frame().columns).index(column)] = value
    lines[17] = separator.join(cells)
    path.write_text("\n".join(lines) + "\n")
    for rows in (1, 4, 100):
        with pytest.raises(DataError, match=rf"a\.{kind} line 18: {message}"):
            in_chunks(path, rows, monkeypatch)


def test_a_bad_parquet_cell_is_found_at_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = frame()
    data.loc[13, "item"] = None
    data.to_parquet(tmp_path / "a.parquet", row_group_size=5)
    for rows in (1, 4, 100):
        with pytest.raises(DataError, match=r"row 14: item: expected an id, found nothing"):
            in_chunks(tmp_path / "a.parquet", rows, monkeypatch)


def test_parquet_with_an_index_a_category_and_nullable_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = frame()
    data["rating"] = pd.array((data["rating"] * 2).astype(int), dtype="Int32")
    data["item"] = data["item"].astype("category")
    data.set_index("user").to_parquet(tmp_path / "a.parquet", row_group_size=5)
    whole = read_interactions(tmp_path / "a.parquet")
    assert whole.content_hash == in_chunks(tmp_path / "a.parquet", 3, monkeypatch).content_hash
    users = whole.vocabularies[0].ids[whole.ids[:, 0]]
    assert users.tolist() == [str(user) for user in data["user"]]


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("separator", ["::", "ab", "aab", "||"])
def test_a_long_separator_is_replaced_across_pieces(
    piece: int, separator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"1{separator}2:{separator}a:{separator}{separator}{separator[0]}\n{separator[:-1]}"
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    monkeypatch.setattr(records, "_PIECE", piece)
    stream = open_replaced(path, separator)
    assert isinstance(stream, io.BufferedReader)
    with stream:
        assert stream.read() == text.encode().replace(separator.encode(), b"\t")
