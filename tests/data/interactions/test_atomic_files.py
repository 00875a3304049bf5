"""Atomic files of RecBole: what is read, what is written, and how pandas reads it for RecBole."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.data.interactions.atomic_files import (
    MISSING,
    atomic_kinds,
    atomic_text,
    beside,
    inter_of,
    kinds_of,
    read_atomic,
    titles_beside,
)
from sif.data.load import load_dataset
from sif.errors import DataError

ITEMS = (
    "item_id:token\tmovie_title:token_seq\tyear:float\tclass:token_seq\tvector:float_seq\n"
    '1\t"Great" Cats\t1995\tComedy Drama\t0.5 -1\n'
    "007\t\t\t\t\n"
)


def by_recbole(path: Path) -> pd.DataFrame:
    """As `recbole.data.dataset.Dataset._load_feat` of 1.2.1 calls pandas."""
    return pd.read_csv(path, delimiter="\t", dtype=str, encoding="utf-8", engine="python")


def test_columns_have_the_types_of_the_header(tmp_path: Path) -> None:
    file = tmp_path / "films.item"
    file.write_text(ITEMS)
    found = read_atomic(file)
    assert found.columns.tolist() == ["item_id", "movie_title", "year", "class", "vector"]
    assert found["item_id"].tolist() == ["1", "007"]
    assert found["movie_title"].tolist() == [['"Great"', "Cats"], []]
    assert found["year"][0] == 1995 and math.isnan(found["year"][1])
    assert found["class"].tolist() == [["Comedy", "Drama"], []]
    assert found["vector"].tolist() == [[0.5, -1.0], []]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item_id:token\tyear\n1\t2\n", "expected every column with a type .* found 'year'"),
        ("item_id:token\tyear:int\n1\t2\n", "found 'year:int'"),
        ("item_id:token\tyear:float\n1\t2\n2\tfour\n", "line 3: year: expected a number, found"),
        ("item_id:token\tv:float_seq\n1\t2 3\n2\t4 x\n", "line 3: v: expected a number, found"),
        ("item_id:token\tyear:float\n1\t2\t3\n", "expected 2 columns, found 3"),
    ],
)
def test_damaged_files_are_told_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "films.item"
    file.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_atomic(file)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)


def test_types_of_headers() -> None:
    assert atomic_kinds(["user_id:token", "a:b:float"]) == {"user_id": "token", "a:b": "float"}
    assert atomic_kinds(["user_id", "rating:float"]) is None
    assert atomic_kinds(["a:token", "a:float"]) is None


FRAME = pd.DataFrame(
    {
        "item_id": ["1", "007", "ä b"],
        "kind": pd.Categorical(["tea", None, "tea"]),
        "year": [1995, np.nan, 0.1],
        "tags": [["a", "b"], [], ["a"]],
        "vector": [[0.5, 2.0], [1e-9, 3.0], [1.0, 1.0]],
        "old": [True, False, True],
    }
)


def test_what_is_written_is_read_alike_here_and_by_recbole(tmp_path: Path) -> None:
    kinds = kinds_of(FRAME)
    assert list(kinds.values()) == ["token", "token", "float", "token_seq", "float_seq", "token"]
    file = tmp_path / "films.item"
    file.write_text(atomic_text(FRAME, kinds, file.name), encoding="utf-8")
    found, theirs = read_atomic(file), by_recbole(file)
    for name, kind in kinds.items():
        if kind == "float":
            np.testing.assert_array_equal(found[name], FRAME[name])
            np.testing.assert_array_equal(theirs[f"{name}:{kind}"].astype(float), FRAME[name])
        elif kind == "token":
            expected = ["" if pd.isna(one) else str(one) for one in FRAME[name]]
            assert found[name].tolist() == theirs[f"{name}:{kind}"].fillna("").tolist() == expected
        else:
            assert found[name].tolist() == FRAME[name].tolist()
            spelled = theirs[f"{name}:{kind}"].fillna("").str.split().tolist()
            cast: Any = float if kind == "float_seq" else str
            assert [[cast(one) for one in row] for row in spelled] == FRAME[name].tolist()


@pytest.mark.parametrize("text", ["NA", "null", "nan", '"quoted"', "a\tb", "a\nb"])
def test_what_recbole_would_read_otherwise_is_refused(text: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"item_id": ["1", text], "x": ["y", "z"]})
    with pytest.raises(DataError, match=r"a\.item: item_id: expected a text .* found") as caught:
        atomic_text(frame, kinds_of(frame), "a.item")
    assert "\n" not in str(caught.value)
    # It is refused for a reason: pandas does read it otherwise.
    file = tmp_path / "a.item"
    file.write_text(f"item_id:token\tx:token\n1\ty\n{text}\tz\n")
    try:
        read = by_recbole(file)["item_id:token"].tolist()
    except pd.errors.ParserError:
        return
    assert read != ["1", text]


def test_missing_texts_are_those_of_pandas() -> None:
    from pandas._libs.parsers import STR_NA_VALUES

    assert frozenset(STR_NA_VALUES) == MISSING


def test_tags_with_spaces_are_refused() -> None:
    frame = pd.DataFrame({"item_id": ["1"], "tags": [["Science Fiction"]]})
    with pytest.raises(DataError, match="tags: expected values without spaces, found 'Science F"):
        atomic_text(frame, kinds_of(frame), "a.item")


def dataset(folder: Path, parts: tuple[str, ...] = ("",)) -> Path:
    folder.mkdir()
    rows = "".join(f"u{n % 5}\t{'1' if n % 2 else '007'}{n}\t{n % 5}\t{n}\n" for n in range(20))
    for part in parts:
        name = f"{folder.name}.{part}.inter" if part else f"{folder.name}.inter"
        header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        (folder / name).write_text(header + rows)
    (folder / f"{folder.name}.item").write_text(
        'item_id:token\tmovie_title:token_seq\n11\tToy "the" Story\n0070\tBond\nNone\tUnused\n'
    )
    (folder / f"{folder.name}.user").write_text("user_id:token\tage:float\nu1\t30\n")
    return folder


def test_a_folder_is_its_interactions_with_titles(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "films", ("", "train"))
    assert inter_of(folder) == folder / "films.inter" and inter_of(tmp_path) is None
    for path in (folder, folder / "films.inter"):
        found = load_dataset(path)
        assert found.name == "films" and len(found.interactions) == 20  # not twice
        titles = found.interactions.titles
        assert titles["11"] == 'Toy "the" Story' and titles["0070"] == "Bond"


def test_files_beside_a_part_are_found(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "my.films", ("train",))
    train = folder / "my.films.train.inter"
    assert beside(train, ".user") == folder / "my.films.user"
    assert titles_beside(train)["0070"] == "Bond"
    assert titles_beside(folder / "my.films.item") == {}
    assert beside(tmp_path / "x.inter", ".item") is None


def test_a_file_of_items_without_a_title_gives_none(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "films")
    (folder / "films.item").write_text("item_id:token\tyear:float\n11\t1995\n")
    assert titles_beside(folder / "films.inter") == {}
    (folder / "films.item").write_text("item_id:token\ttitle:float\n11\t1995\n")
    assert titles_beside(folder / "films.inter") == {}
    (folder / "films.item").write_text("item_id:token\ttitle:token\n\tNothing\n")
    with pytest.raises(DataError, match=r"films\.item row 1: expected an id"):
        load_dataset(folder)
