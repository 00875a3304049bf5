"""Interactions to RecBole, RecTools and files, and back: the same rows."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.adapters.convert import FORMATS, convert
from sif.adapters.recbole import read_recbole, write_recbole
from sif.adapters.rectools import interactions_frame, reco_frame
from sif.cli import main as cli
from sif.config.cf import DataConfig
from sif.data.interactions import Interactions, read_frame
from sif.data.interactions.split import Split, build_split
from sif.data.interactions.split_file import load_split_file
from sif.errors import CheckpointError, ConfigError, DataError
from sif.recommender.inputs import interactions_of

ROWS = pd.DataFrame(
    [(f"u{n % 7}", f"i{n % 5} {n // 7}", float(n % 5 + 1), 1_000_000 + n) for n in range(40)],
    columns=["user", "item", "rating", "timestamp"],
).drop_duplicates(["user", "item"], ignore_index=True)


def told(rows: Interactions) -> list[tuple[Any, ...]]:
    """Rows in their order, by original ids."""
    ids = [v.ids[rows.ids[:, f]].tolist() for f, v in enumerate(rows.vocabularies)]
    more = [part.tolist() for part in (rows.rating, rows.timestamp) if part is not None]
    return list(zip(*ids, *more, strict=True))


EXPECTED = told(read_frame(ROWS))


def in_parts(frame: pd.DataFrame = ROWS) -> Split:
    part = np.arange(len(frame)) % 5
    return build_split(read_frame(frame), np.where(part < 3, 0, part - 2), protocol="file", seed=0)


def test_recbole_there_and_back(tmp_path: Path) -> None:
    folder = write_recbole(ROWS, tmp_path / "shop")
    assert [file.name for file in folder.iterdir()] == ["shop.inter"]
    head = (folder / "shop.inter").read_text().splitlines()[:2]
    assert head == [
        "user_id:token\titem_id:token\trating:float\ttimestamp:float", "u0\ti0 0\t1\t1000000",
    ]  # fmt: skip
    for path in (folder, folder / "shop.inter"):
        found = read_recbole(path)
        assert told(found.interactions) == EXPECTED
        assert (found.name, found.split, found.items, found.users) == ("shop", None, None, None)


def test_recbole_with_features_and_titles(tmp_path: Path) -> None:
    titled = ROWS.assign(title=[f'A "{item}"\n' for item in ROWS["item"]])
    found = read_recbole(write_recbole(titled, tmp_path / "titled"))
    assert found.interactions.titles["i0 0"] == "A 'i0 0'"
    items = pd.DataFrame({"price": [1.5, 2], "item": ["i0 0", "i1 0"], "tags": [["a"], ["b", "c"]]})
    users = pd.DataFrame({"user_id": [1.0, 2.0], "city": ["X", "Y"]})
    found = read_recbole(write_recbole(ROWS, tmp_path / "featured", items=items, users=users))
    assert found.items is not None and found.users is not None
    assert found.items.columns.tolist() == ["item_id", "price", "tags"]
    assert found.items["tags"].tolist() == [["a"], ["b", "c"]]
    assert found.users["user_id"].tolist() == ["1", "2"]


def test_recbole_benchmark_files_are_a_split(tmp_path: Path) -> None:
    split = in_parts()
    folder = write_recbole(split, tmp_path / "shop")
    assert {file.name for file in folder.iterdir()} == {
        f"shop.{part}.inter" for part in ("train", "valid", "test")
    }
    found = read_recbole(folder)
    assert found.name == "shop" and found.split is not None
    parts = (found.split.train, found.split.valid, found.split.test)
    for one, other in zip(parts, (split.train, split.valid, split.test), strict=True):
        assert told(one) == told(other)


def test_recbole_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"shop\.inter: user_id: expected a text .* found 'NA'"):
        write_recbole(ROWS.replace({"user": {"u1": "NA"}}), tmp_path / "shop")
    with pytest.raises(DataError, match="items: expected a column item_id or item, found price"):
        write_recbole(ROWS, tmp_path / "shop", items=pd.DataFrame({"price": [1]}))
    with pytest.raises(DataError, match="items row 2: item: expected an id"):
        write_recbole(ROWS, tmp_path / "shop", items=pd.DataFrame({"item": ["a", None]}))
    with pytest.raises(ConfigError, match="expected a new folder, found a folder that is there"):
        write_recbole(ROWS, tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CheckpointError, match="No space left"):
        write_recbole(ROWS, tmp_path / "shop")
    assert not list(tmp_path.iterdir())


def test_ratings_are_written_in_their_own_digits(tmp_path: Path) -> None:
    rated = ROWS.assign(rating=[0.1, 4.5] * (len(ROWS) // 2) + [3.0] * (len(ROWS) % 2))
    folder = write_recbole(rated, tmp_path / "shop")
    cells = [line.split("\t")[2] for line in (folder / "shop.inter").read_text().splitlines()[1:]]
    assert set(cells) <= {"0.1", "4.5", "3"}
    rows = read_recbole(folder).interactions
    assert told(rows) == told(read_frame(rated))


def test_there_is_nothing_of_recbole(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"expected .* or one NAME\.train\.inter in a folder, found"
    ):
        read_recbole(tmp_path)


def test_rectools_there_and_back() -> None:
    frame = interactions_frame(ROWS)
    assert frame.columns.tolist() == ["user_id", "item_id", "weight", "datetime"]
    assert frame["datetime"].dtype.kind == "M" and frame["datetime"][0].year == 1970
    assert told(read_frame(frame.rename(columns={"weight": "rating"}))) == EXPECTED
    assert read_frame(frame).rating is None  # weights are no ratings unless told
    assert len(interactions_frame(in_parts())) == len(ROWS)


def test_rectools_needs_a_weight_and_a_time_of_every_row() -> None:
    frame = interactions_frame(ROWS[["user", "item"]])
    assert frame["weight"].eq(1).all() and (frame["datetime"] == pd.Timestamp(0)).all()


def test_weights_are_ratings_if_told() -> None:
    frame = interactions_frame(ROWS)
    assert told(interactions_of(frame, DataConfig(rating="weight"), "rating")) == EXPECTED


def test_recommendations_of_rectools(make: Any) -> None:
    model = make()
    many = reco_frame(model.recommend(["u1", "u2"], n=2))
    assert many.columns.tolist() == ["user_id", "item_id", "score", "rank"]
    assert many["user_id"].tolist() == ["u1", "u1", "u2", "u2"]
    assert many["rank"].tolist() == [1, 2, 1, 2]
    one = reco_frame(model.recommend("u1", n=2), user="u1")
    pd.testing.assert_frame_equal(one, many[:2])
    near = reco_frame(model.similar_items(["i1", "i2"], n=1))
    assert near.columns.tolist() == ["target_item_id", "item_id", "score", "rank"]
    with pytest.raises(DataError, match="user: expected an id, for an answer about one user"):
        reco_frame(model.recommend("u1", n=2))
    with pytest.raises(DataError, match="expected columns item, score and rank, found none 'item'"):
        reco_frame(pd.DataFrame({"score": [1]}))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "shop.csv"
    ROWS.to_csv(file, index=False)
    return file


@pytest.mark.parametrize(
    ("to", "name"),
    [("recbole", "out"), ("csv", "out.csv"), ("parquet", "out.parquet"),
     ("rectools", "out.csv"), ("rectools", "out.parquet")],
)  # fmt: skip
def test_the_command_converts(
    to: str, name: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / name
    assert cli.main(["convert", str(source), "--to", to, "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    settings = DataConfig(rating="weight") if to == "rectools" else DataConfig()
    back = tmp_path / "back.csv"
    convert(output, "csv", back, settings=settings)
    assert told(read_frame(pd.read_csv(back))) == EXPECTED
    assert {path.name for path in tmp_path.iterdir()} == {"shop.csv", name, "back.csv"}


@pytest.mark.parametrize("to", ["recbole", "csv", "parquet"])
def test_a_split_stays_one(to: str, tmp_path: Path) -> None:
    split = in_parts()
    first = write_recbole(split, tmp_path / "first")
    output = convert(first, to, tmp_path / "second", is_split=True)
    found = load_split_file(output)
    for part in range(3):
        assert told(found.rows(part)) == told(split.rows(part))


def test_settings_name_columns_and_filter(source: Path, tmp_path: Path) -> None:
    words = ["convert", str(source), "--to", "csv", "--output", str(tmp_path / "out.csv")]
    assert cli.main([*words, "--set", "data.min_rating=4", 'data.timestamp=""']) == 0
    found = pd.read_csv(tmp_path / "out.csv")
    assert found.columns.tolist() == ["user", "item", "rating"] and found["rating"].min() == 4


def test_bad_arguments_of_the_command_are_one_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    cases = {
        "--to orc --output a.b": "error: --to: expected one of recbole, rectools, csv, parquet",
        "--to csv --output a.txt": "error: a.txt: expected a name that ends in .csv",
        "--to rectools --output a.txt": "error: a.txt: expected a name that ends in .csv or .parq",
        "--to csv --output shop.csv/a.csv": "error: shop.csv/a.csv: expected a folder to write it",
        "--to recbole --output shop.csv/a": "error: shop.csv/a: expected a folder to write it into",
        "--to recbole --output .": "error: .: expected a new folder, found a folder that is there",
        "--to recbole --output shop.csv": "error: shop.csv: expected a new folder, found a file th",
        "--to csv --output a.csv --item-features b.csv": "error: ",
        "--to rectools --split --output a.csv": "error: rectools: expected interactions, found a",
        "--to csv --split --output a": "error: shop.csv: expected an npz",
        "--to csv --output a.csv --set data.nothing=1": "error: --set: data.nothing: unknown",
    }
    for words, message in cases.items():
        assert cli.main(["convert", "shop.csv", *words.split()]) == 2, words
        out, error = capsys.readouterr()
        assert out == "" and error.startswith(message) and error.count("\n") == 1, error
    assert [path.name for path in tmp_path.iterdir()] == ["shop.csv"]


def test_parquet_without_pyarrow_is_told_before_anything_is_read(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("sif.adapters.convert.load_dataset", None)
    with pytest.raises(ConfigError, match="pyarrow"):
        convert(source, "parquet", tmp_path / "a.parquet")


def test_every_format_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["convert", "--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in FORMATS)


RECORDS = ROWS.to_dict("records")


@pytest.mark.parametrize(
    "data",
    [RECORDS, tuple(RECORDS), ROWS.to_dict("list"), {n: ROWS[n].to_numpy() for n in ROWS}],
    ids=["rows", "tuple", "columns", "arrays"],
)
def test_rows_and_columns_of_python_are_data(data: Any, tmp_path: Path) -> None:
    assert told(read_recbole(write_recbole(data, tmp_path / "a")).interactions) == EXPECTED


class Hub:
    """As a data set of Hugging Face's `datasets`."""

    column_names = tuple(ROWS.columns)

    def to_pandas(self) -> pd.DataFrame:
        return ROWS


def test_a_hub_data_set_is_data_and_its_parts_are_told(tmp_path: Path) -> None:
    assert told(read_recbole(write_recbole(Hub(), tmp_path / "a")).interactions) == EXPECTED
    cases: dict[str, Any] = {
        "data: expected one table, found a mapping of train, test": {"train": Hub(), "test": Hub()},
        "data: expected columns of one length, found user 2, item 1": {"user": [1, 2], "item": [1]},
        "data: expected columns of one length, found none": {},
        "data: expected a data frame, a sparse matrix, a file or Interactions, found": [1, 2],
    }
    for message, data in cases.items():
        with pytest.raises(DataError) as caught:
            write_recbole(data, tmp_path / "b")
        assert str(caught.value).startswith(message)
