"""Folders of files, and the columns that folders name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sif.data.interactions import Columns, read_frame
from sif.data.load import load_dataset
from sif.data.streamed import open as open_module
from sif.data.streamed import text_source
from sif.data.streamed.load import Place
from sif.data.streamed.open import is_streamed, open_source
from sif.data.streamed.source import Piece
from sif.errors import DataError


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "scratch", False)


@pytest.fixture
def frame() -> pd.DataFrame:
    keys = np.random.default_rng(0).permutation(120)
    years = [f"{2020 + key % 3}" for key in keys]
    return pd.DataFrame({"user": keys // 12, "item": [f"i{k % 12}" for k in keys], "year": years})


def values(pieces: Iterable[Piece]) -> list[str]:
    """Of the first column."""
    return [value for piece in pieces for value in piece.batch.column(0).to_pylist()]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_files_of_a_folder_are_read_in_the_order_of_their_paths(
    frame: pd.DataFrame, tmp_path: Path, place: Place, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_source, "BLOCK", 100)
    folder = tmp_path / "data"
    (folder / "b").mkdir(parents=True)
    parts = {"a.1": frame[:50], "b/1": frame[50:90], "c": frame[90:]}
    for name, part in parts.items():
        if kind == "csv":
            part.to_csv(folder / f"{name}.csv", index=False)
        else:
            columns = part.columns if name != "c" else part.columns[::-1]
            part[columns].assign(more=1).to_parquet(folder / f"{name}.parquet", row_group_size=7)
    for name in ("_SUCCESS", ".hidden", "README.md"):
        (folder / name).write_text("no data")
    assert is_streamed(folder)
    found = load_dataset(folder, place=place, columns=Columns(context=("year",))).interactions
    known = read_frame(frame, Columns(context=("year",)))
    assert found.vocabularies == known.vocabularies
    assert found.ids.tolist() == known.ids.tolist()
    source = open_source(folder, Columns())
    row = len(frame) - 3
    assert source.locate(row, 1)[1] == frame["item"].iloc[row]
    pieces = list(source.pieces([1]))
    for number, piece in enumerate(pieces):
        assert values(source.pieces([1], piece.mark)) == values(pieces[number + 1 :])


def test_folders_name_columns(frame: pd.DataFrame, tmp_path: Path, place: Place) -> None:
    table = pa.Table.from_pandas(frame.assign(year="0" + frame["year"], sort="a b/c"))
    pq.write_to_dataset(table, tmp_path / "data", partition_cols=["year", "sort"])
    names = Columns(context=("year", "sort"))
    found = load_dataset(tmp_path / "data", place=place, columns=names, order="rows").interactions
    assert found.vocabularies[2].ids.tolist() == ["02020", "02021", "02022"]
    assert found.vocabularies[3].ids.tolist() == ["a b/c"]
    rows = {
        (int(found.vocabularies[0].ids[u]), str(found.vocabularies[1].ids[i]), 2020 + int(y))
        for u, i, y, _ in found.ids.tolist()
    }
    assert rows == {(u, i, int(y)) for u, i, y in frame.itertuples(index=False)}


def test_files_that_differ_are_refused(
    frame: pd.DataFrame, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with pytest.raises(DataError, match=r"data: expected a folder of Parquet or text .* no file"):
        load_dataset(folder, place=place)
    frame.to_parquet(folder / "a.parquet")
    frame.astype({"user": str}).to_parquet(folder / "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet: column 'user': expected int64 as in .*a.par"):
        load_dataset(folder, place=place)
    frame[["user", "year"]].to_parquet(folder / "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet: expected a column 'item' as in .*a.parquet"):
        load_dataset(folder, place=place)
    (folder / "b.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-9])
    with pytest.raises(DataError, match=r"b.parquet: expected a Parquet file"):
        load_dataset(folder, place=place)
    assert not list(place.folder.glob("*"))

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"data: cannot be read: Permission denied"):
        load_dataset(folder, stream=True, place=place)


def test_what_is_read_by_pieces(
    frame: pd.DataFrame, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame.to_parquet(tmp_path / "some.parquet")
    frame.to_feather(tmp_path / "some.feather")
    frame.to_csv(tmp_path / "some.csv")
    frame.to_csv(tmp_path / "some.csv.gz")
    large = {"some.parquet": "parquet", "some.csv": "text", "some.csv.gz": "packed"}
    for limits in ({}, {"parquet": 1}, {"packed": 1}, {"parquet": 1, "text": 1}):
        monkeypatch.setattr(open_module, "LARGE", dict.fromkeys(large.values(), 2**20) | limits)
        for name, kind in large.items():
            assert is_streamed(tmp_path / name) == (kind in limits)
        for name in ("some.feather", "absent"):
            assert not is_streamed(tmp_path / name)
    np.savez(tmp_path / "small.npz", user=[0, 1], item=[1, 0])
    for name in ("small.npz", "some.feather", "absent.csv"):
        with pytest.raises(DataError, match=name):
            load_dataset(tmp_path / name, stream=True, place=place)
    with pytest.raises(
        DataError, match=r"data.stream: expected a file or a folder, found the data"
    ):
        load_dataset("ml-100k", stream=True, place=place)


def test_linked_folders_are_read_and_none_twice(
    frame: pd.DataFrame, tmp_path: Path, place: Place
) -> None:
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    folder.mkdir(), elsewhere.mkdir()
    frame[:50].to_parquet(folder / "a.parquet")
    frame[50:].to_parquet(elsewhere / "b.parquet")
    (folder / "more").symlink_to(elsewhere)
    assert len(load_dataset(folder, place=place).interactions) == len(frame)
    (elsewhere / "up").symlink_to(folder)
    with pytest.raises(DataError, match="more/up: expected each folder once, found a link"):
        load_dataset(folder, place=place)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_name_that_is_no_text_is_refused(
    frame: pd.DataFrame, tmp_path: Path, place: Place, ending: str
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/data/\xff." + ending.encode()))
    odd.parent.mkdir()
    if ending == "csv":
        frame.to_csv(odd, index=False)
    else:
        frame.to_parquet(tmp_path / "a.parquet")
        (tmp_path / "a.parquet").rename(odd)
    for path in (odd.parent, odd):
        with pytest.raises(DataError, match=r"\\udcff.*: expected a name in UTF-8"):
            load_dataset(path, place=place)
