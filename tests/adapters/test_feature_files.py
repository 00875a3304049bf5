"""Tables of features to other programs and back, and times that RecTools wants."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.adapters.convert import convert
from sif.adapters.recbole import read_recbole
from sif.adapters.rectools import interactions_frame
from sif.cli import main as cli
from sif.config.cf import DataConfig
from sif.data.features import Features, read_features
from sif.data.interactions import read_frame
from sif.errors import DataError
from sif.recommender.inputs import DEFAULTS, parts

ROWS = pd.DataFrame(
    [(f"u{n % 7}", f"i{n % 5}", 1_700_000_000 + n) for n in range(35)],
    columns=["user", "item", "timestamp"],
)
ITEMS = pd.DataFrame(
    {
        "item": [f"i{n}" for n in range(5)],
        "price": [0.1, 2.0, None, 1e-7, 3e9],
        "year": [1990, 1991, 2000, 2001, 2002],
        "kind": ["tea", None, "mug, big", "tea", 'a "b"'],
        "is_new": [True, False, True, False, True],
        "tags": [["x", "y z"], [], ["y z"], ["x", "w"], None],
        "vector": [[1.0, -0.5], None, [0.25, 2.0], [3.0, 4.0], [0.0, 1.0]],
    }
)
USERS = pd.DataFrame({"user": [f"u{n}" for n in range(7)], "age": [20.5 + n for n in range(7)]})


@pytest.fixture
def shop(tmp_path: Path) -> dict[str, Path]:
    """Files of interactions and of features."""
    files = {name: tmp_path / f"{name}.parquet" for name in ("rows", "items", "users")}
    for file, frame in zip(files.values(), (ROWS, ITEMS, USERS), strict=True):
        frame.to_parquet(file)
    return files


def settings(files: dict[str, Path]) -> DataConfig:
    return DataConfig(item_features=files["items"], user_features=files["users"])


def rows_of(table: Features) -> dict[str, Any]:
    """Kind, labels, and numbers by id, of each column by its name."""
    matrix = table.rows(np.sort(table.vocabulary.ids)).toarray()
    return {c.name: (c.kind, c.labels, matrix[:, c.start : c.stop].tolist()) for c in table.columns}


@pytest.mark.parametrize(
    ("to", "name"),
    [("csv", "a.csv"), ("parquet", "a.parquet"), ("rectools", "a.csv"), ("rectools", "a.parquet")],
)
def test_features_go_out_and_come_back(
    to: str, name: str, shop: dict[str, Path], tmp_path: Path
) -> None:
    output = tmp_path / "new" / "folder" / name
    assert convert(shop["rows"], to, output, settings=settings(shop)) == output
    for role, table in (("item", ITEMS), ("user", USERS)):
        file = output.with_name(f"a.{role}_features{output.suffix}")
        assert rows_of(read_features(file, role)) == rows_of(read_features(table, role))
    assert len(list(output.parent.iterdir())) == 3


def test_features_go_to_recbole_and_come_back_by_themselves(
    shop: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quoted = ITEMS.assign(kind=ITEMS["kind"].str.replace('"', "'"))
    quoted.to_parquet(shop["items"])
    with caplog.at_level(logging.WARNING, "sif"):
        folder = convert(shop["rows"], "recbole", tmp_path / "shop", settings=settings(shop))
    assert "tags: spaces within tags became _, in 1 of them, such as 'y z'" in caplog.messages
    head, first = (folder / "shop.item").read_text().splitlines()[:2]
    assert [name.partition(":")[2] for name in head.split("\t")] == [
        "token", "float", "float", "token", "token", "token_seq", "float_seq",
    ]  # fmt: skip
    assert first.split("\t") == ["i0", "0.1", "1990", "tea", "True", "x y_z", "1 -0.5"]
    expected = quoted.assign(tags=[["x", "y_z"], [], ["y_z"], ["x", "w"], None])
    for file in (folder / "shop.item", convert(folder, "csv", tmp_path / "b.csv")):
        back = file if file.suffix == ".item" else file.with_name("b.item_features.csv")
        assert rows_of(read_features(back, "item")) == rows_of(read_features(expected, "item"))
    assert rows_of(read_features(tmp_path / "b.user_features.csv", "user")) == rows_of(
        read_features(USERS, "user")
    )


def test_texts_and_titles_are_words_in_recbole(tmp_path: Path) -> None:
    plots = [f'A "long" story of {word} and some more' for word in ("tea", "mugs", "cups")]
    table = pd.DataFrame({"item": ["i0", "i1", "i2"], "plot": plots})
    table.to_csv(tmp_path / "items.csv", index=False)
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "first.inter").write_text(
        "user_id:token\titem_id:token\n" + "".join(f"u{n}\ti{n % 4}\n" for n in range(8))
    )
    (folder / "first.item").write_text("item_id:token\ttitle:token_seq\ni0\tOne more\ni3\tThree\n")
    named = DataConfig(item_features=tmp_path / "items.csv")
    items = read_recbole(convert(folder, "recbole", tmp_path / "second", settings=named)).items
    assert items is not None
    words = items.set_index("item_id")
    assert words["plot"]["i1"] == ["A", "'long'", "story", "of", "mugs", "and", "some", "more"]
    assert words["title"].to_dict() == {"i0": ["One", "more"], "i1": [], "i2": [], "i3": ["Three"]}


def test_a_split_takes_its_features_along(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, part in enumerate(("train", "valid", "test")):
        ROWS.assign(user=ROWS["user"] + part).drop_duplicates(["user", "item"])[number:].to_csv(
            folder / f"{part}.csv", index=False
        )
    ITEMS.drop(columns="vector").to_parquet(tmp_path / "items.parquet")
    named = DataConfig(item_features=tmp_path / "items.parquet")
    second = convert(folder, "csv", tmp_path / "second", is_split=True, settings=named)
    assert {file.name for file in second.iterdir()} == {
        "train.csv", "valid.csv", "test.csv", "item_features.csv",
    }  # fmt: skip
    third = convert(second, "recbole", tmp_path / "third", is_split=True, settings=named)
    assert (third / "third.item").is_file()
    fourth = convert(third, "csv", tmp_path / "fourth", is_split=True)
    assert (fourth / "item_features.csv").is_file()


def test_the_command_takes_features_and_names_words(
    shop: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["convert", str(shop["rows"]), "--to", "rectools", "--output", str(tmp_path / "a.csv")]
    named = ["--item-features", str(shop["items"]), "--user-features", str(shop["users"])]
    more = ["--set", "data.feature_kinds={year: category, price: ignore}"]
    assert cli.main([*words, *named, *more]) == 0
    assert (
        f"{tmp_path / 'a.item_features.csv'}: for Dataset.construct as item_features_df, with "
        "cat_item_features=['year', 'kind', 'is_new', 'tags']"
    ) in caplog.messages
    long = pd.read_csv(tmp_path / "a.item_features.csv", dtype=str)
    assert long.columns.tolist() == ["id", "feature", "value"] and long.notna().all(axis=None)
    assert long[long["id"] == "i0"].values.tolist() == [
        ["i0", "year", "1990"], ["i0", "kind", "tea"], ["i0", "is_new", "True"],
        ["i0", "tags", "x"], ["i0", "tags", "y z"], ["i0", "vector[0]", "1"],
        ["i0", "vector[1]", "-0.5"],
    ]  # fmt: skip


def test_bad_tables_are_one_line_and_nothing_is_written(
    shop: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ITEMS.assign(tags=[["a|b"]] * 5).to_parquet(tmp_path / "torn.parquet")
    ITEMS.assign(kind=["NA"] * 5).to_parquet(tmp_path / "na.parquet")
    ITEMS.assign(item="x" + ITEMS["item"]).to_parquet(tmp_path / "foreign.parquet")
    before = set(tmp_path.iterdir())
    cases = {
        ("csv", "torn"): "tags: expected tags without | for CSV, found 'a|b'",
        ("recbole", "na"): "kind: expected a text that RecBole reads as it is, found 'NA'",
        ("csv", "foreign"): "features of items: expected ids of the interactions, such as 'i0'",
        ("csv", "absent"): "expected a file, found no such file",
    }
    for (to, name), told in cases.items():
        output = tmp_path / ("out.csv" if to == "csv" else "out")
        words = ["convert", str(shop["rows"]), "--to", to, "--output", str(output)]
        code = cli.main([*words, "--item-features", str(tmp_path / f"{name}.parquet")])
        _, error = capsys.readouterr()
        assert code == 2 and told in error and error.count("\n") == 1, error
        assert set(tmp_path.iterdir()) == before


# Long tables


def test_long_tables_are_read_by_id_and_feature() -> None:
    long = pd.DataFrame(
        [("b", "kind", "x"), ("a", "kind", "y"), ("b", "year", "3"), ("a", "tags", "p"),
         ("a", "tags", "q"), ("a", "year", None)],
        columns=["id", "feature", "value"],
    )  # fmt: skip
    found = read_features(long.assign(weight=1.0), "item")
    wide = pd.DataFrame(
        {"id": ["b", "a"], "kind": ["x", "y"], "year": ["3", None], "tags": [None, ["p", "q"]]}
    )
    assert found.vocabulary.ids.tolist() == ["b", "a"]
    assert found.hash == read_features(wide, "item").hash
    for bad, told in (
        (long.assign(weight=[1, 1, 2, 1, 1, 1]), "row 3: weight: expected 1, since weights"),
        (long.assign(feature=["k", None, "k", "k", "k", "k"]), "row 2: feature: expected a name"),
    ):
        with pytest.raises(DataError, match=told):
            read_features(bad, "item")


def test_numbered_columns_are_a_vector_where_all_are_there() -> None:
    table = pd.DataFrame({"item": ["a", "b"], "v[0]": ["3", None], "k": ["x", "y"]})
    whole = read_features(table.assign(**{"v[1]": ["4", None]}), "item")
    assert [(c.name, c.kind) for c in whole.columns] == [("v", "vector"), ("k", "category")]
    assert whole.matrix.toarray()[:, :2] == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))
    for other in ({"v[2]": ["4", None]}, {"v[1]": ["4", "5"]}, {"v[1]": ["x", None]}):
        names = read_features(table.assign(**other), "item").names
        assert names == ("v[0]", "k", next(iter(other)))


# Times


@pytest.mark.parametrize(
    "times",
    [[1704103200 + n for n in range(3)], [1704103200_000 + 1000 * n for n in range(3)],
     [f"2024-01-01T10:00:0{n}Z" for n in range(3)],
     [f"2024-01-01 11:00:0{n}+01:00" for n in range(3)]],
    ids=["seconds", "milliseconds", "iso", "zone"],
)  # fmt: skip
def test_times_of_any_form_go_to_rectools(times: list[Any], tmp_path: Path) -> None:
    rows = pd.DataFrame({"user": ["a", "a", "b"], "item": ["x", "y", "x"], "clicked_at": times})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    named = DataConfig(timestamp="clicked_at")
    file = convert(tmp_path / "rows.csv", "rectools", tmp_path / "out.csv", settings=named)
    assert pd.read_csv(file)["datetime"].tolist() == [f"2024-01-01 10:00:0{n}" for n in range(3)]


def test_times_that_are_made_up_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = pd.DataFrame({"user": ["a", "a", "b"], "item": ["x", "y", "x"], "clicked_at": [1, 2, 3]})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    convert(tmp_path / "rows.csv", "rectools", tmp_path / "out.csv")
    unread, made_up = caplog.messages
    assert unread.endswith("clicked_at looks like times: pass data.timestamp=clicked_at to read it")
    assert made_up.startswith("datetime: 1970-01-01 in every row, since the data have no times and")
    caplog.clear()
    in_order = DataConfig(order="rows")
    convert(tmp_path / "rows.csv", "rectools", tmp_path / "b.csv", settings=in_order)
    assert caplog.messages[1].startswith("datetime: the place of each row, in seconds since 1970")
    caplog.clear()
    interactions_frame(read_frame(rows.rename(columns={"clicked_at": "time"})))
    assert not caplog.messages


def test_a_fit_warns_of_times_that_it_does_not_read(caplog: pytest.LogCaptureFixture) -> None:
    orders = ROWS.drop_duplicates(["user", "item"])
    with caplog.at_level(logging.WARNING, "sif"):
        parts(orders, None, 0)
        assert not caplog.messages
        parts(orders.rename(columns={"timestamp": "clicked_at"}), None, 0)
    (told,) = caplog.messages
    assert told.endswith('times: pass settings={"data.timestamp": "clicked_at"} to read it')
    caplog.clear()
    with caplog.at_level(logging.WARNING, "sif"):
        named = DEFAULTS.model_copy(update={"timestamp": "clicked_at"})
        known, *_ = parts(orders.rename(columns={"timestamp": "clicked_at"}), None, 0, named)
    assert known.timestamp is not None and not caplog.messages
