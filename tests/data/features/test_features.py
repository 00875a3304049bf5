"""Tables of features: every kind by hand, recognized kinds, further rows, and bad tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.config.cf import DataConfig
from sif.data.features import Features, read_features
from sif.data.features.attach import with_features
from sif.data.features.columns import KNOTS, WORDS
from sif.data.features.read import further_features
from sif.data.interactions import Vocabulary, read_frame
from sif.errors import DataError


def films(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"item": ["a", "b", "c", "d"], **columns})


def numbers(**columns: Any) -> list[list[float]]:
    return read_features(films(**columns), "item").matrix.toarray().tolist()


def test_categories_and_tags_are_ones_of_their_labels_in_order() -> None:
    assert numbers(kind=["x", "y", None, "x"]) == [[1, 0], [0, 1], [0, 0], [1, 0]]
    found = read_features(films(tags=["p|q", "q", "", ["r", "p", "r"]]), "item")
    assert found.columns[0].labels == ("p", "q", "r")
    assert found.matrix.toarray().tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]]


def test_a_number_is_shared_by_its_two_neighbors_among_the_quantiles() -> None:
    values = np.arange(15.0)
    frame = pd.DataFrame({"item": np.arange(15), "year": values})
    found = read_features(frame, "item")
    knots = np.array(found.columns[0].knots)
    assert knots.tolist() == pytest.approx(np.linspace(0, 14, KNOTS).tolist())
    rows = found.matrix.toarray()
    assert (rows @ knots).tolist() == pytest.approx(values.tolist())  # linear between knots
    assert rows.sum(axis=1).tolist() == pytest.approx([1.0] * 15)
    beyond = further_features(pd.DataFrame({"item": ["z"], "year": [1e9]}), "item", found)[0]
    assert beyond.matrix.toarray()[0].tolist() == [0] * (KNOTS - 1) + [1]


def test_words_are_hashed_without_regard_to_case_and_count_once() -> None:
    texts = ["The quick brown fox runs", "quick QUICK a b c d", "", "one two three four five six"]
    found = read_features(films(plot=texts), "item")
    assert (found.columns[0].kind, found.width) == ("text", WORDS)
    rows = found.matrix.toarray()
    assert rows.sum(axis=1).tolist() == [5, 5, 0, 6]
    assert (rows[0] @ rows[1]) == 1  # quick


def test_vectors_have_length_one_and_zeros_stay_zeros() -> None:
    given = [np.array([3.0, 4.0]), [0.0, 0.0], None, (0.0, -2.0)]
    assert np.allclose(numbers(v=given), [[0.6, 0.8], [0, 0], [0, 0], [0, -1]])


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([1, 2, 3, 4], "number"), (["1.5", "2", "", "7"], "number"), ([0, 1, 1, 0], "category"),
        ([True, False, None, True], "category"), (["a", "b", "a", "c"], "category"),
        (["a|b", "c", "d", "e"], "tags"), ([["a"], ["b"], [], ["c"]], "tags"),
        ([[0.5, 1.0]] * 4, "vector"), ([[1, 2]] * 4, "tags"), ([None] * 4, "category"),
        ([f"a film about {n} of my cats" for n in "wxyz"], "text"),
    ],
)  # fmt: skip
def test_kinds_are_recognized(cells: list[Any], kind: str) -> None:
    frame = films(other=["x"] * 4, it=pd.Series(cells, dtype=object))
    assert read_features(frame, "item").columns[1].kind == kind


def test_kinds_may_be_named_and_columns_ignored() -> None:
    frame = films(year=[1990, 1991, 1990, 2000], note=["x"] * 4)
    found = read_features(frame, "item", {"year": "category", "note": "ignore"})
    assert [(c.name, c.labels) for c in found.columns] == [("year", ("1990", "1991", "2000"))]


def test_rows_of_a_vocabulary_are_found_by_id_and_zeros_where_there_is_none() -> None:
    found = read_features(films(kind=["x", "y", None, "x"]), "item")
    words = Vocabulary(["d", "new", "b", "c"])
    assert found.aligned(words).toarray().tolist() == [[1, 0], [0, 0], [0, 1], [0, 0]]
    assert found.unknown(words) == 1
    assert found.having("kind", "x", words).tolist() == [True, False, False, False]
    with pytest.raises(DataError, match="features: kind: expected one of x, y, found 'z'"):
        found.having("kind", "z", words)


def test_further_rows_have_the_same_columns_and_unseen_values_count_as_missing() -> None:
    kinds = films(kind=["x", "y", None, "x"], year=[1, 2, 3, 4], note=["n"] * 4)
    found = read_features(kinds, "item", {"note": "ignore"})
    more = pd.DataFrame({"note": [1, 2, 3], "kind": ["y", "new", None], "id": ["e", "f", "a"]})
    further, lines = further_features(more, "item", found)
    assert lines == (
        "item features: kind: the fit did not know 1 value, 'new'; it counts as missing",
    )
    several = more.assign(kind=["y", "new", "and another"])
    _, lines = further_features(several, "item", Features.restored(found.state()))
    assert [line.partition("know ")[2] for line in lines] == [
        "2 values, such as 'and another'; they count as missing"
    ]
    assert further.matrix.toarray()[:, :2].tolist() == [[0, 1], [0, 0], [0, 0]]
    assert not further.matrix.toarray()[:, 2:].any()
    both = found.joined(further)
    words = Vocabulary(list("abcdef"))
    assert both.aligned(words).toarray()[:, :2].tolist() == [
        [0, 0], [0, 1], [0, 0], [1, 0], [0, 1], [0, 0],
    ]  # fmt: skip


def test_further_rows_with_unknown_or_repeated_columns_are_refused() -> None:
    found = read_features(films(kind=["x", "y", None, "x"], year=[1, 2, 3, 4]), "item")
    cases = {
        "expected some of kind, year, found 'knd'; did you mean 'kind'?": ["id", "knd"],
        "expected some of kind, year, found 'price'": ["id", "price"],
        "expected one column of each name, found 'kind' twice": ["id", "kind", "kind"],
        "expected one column 'id', found several": ["id", "kind", "id"],
    }
    for told, names in cases.items():
        with pytest.raises(DataError) as caught:
            further_features(
                pd.DataFrame([["e", "x", "y"][: len(names)]], columns=names), "item", found
            )
        assert str(caught.value) == f"item features: {told}"


def test_a_state_is_read_back_and_a_damaged_one_refused() -> None:
    found = read_features(films(kind=["x", "y", None, "x"], year=[1, 2, 3, 4]), "item")
    again = Features.restored(found.state())
    assert again.hash == found.hash
    assert again.columns == found.columns
    broken = found.state()
    broken["columns"][0]["stop"] = 1
    with pytest.raises(ValueError, match="expected column 'year' from 1, found 2"):
        Features.restored(broken)


def test_interactions_get_the_features_of_their_ids_and_say_so(tmp_path: Path) -> None:
    rows = read_frame(pd.DataFrame({"user": list("uvu"), "item": list("bca"), "r": [1, 2, 3]}))
    films(genre=["x|y", "y", None, "x"]).to_csv(tmp_path / "f.csv", index=False)
    config, end = DataConfig(item_features=tmp_path / "f.csv"), "has no interactions"
    found, notes = with_features(rows, config)
    assert found.select(np.array([0])).item_features is found.item_features
    assert notes == (
        f"features of items: genre (tags, 2); 2 of 3 items have some; 1 id of the table {end}",
    )
    with pytest.raises(DataError) as caught:
        with_features(rows, DataConfig(feature_kinds={"genre": "tags"}))
    told = "data.feature_kinds: expected a column of no table of features, found 'genre'"
    assert str(caught.value) == told
    foreign = read_frame(pd.DataFrame({"user": ["u"], "item": ["zz"], "r": [1]}))
    with pytest.raises(DataError) as caught:
        with_features(foreign, config)
    assert str(caught.value) == (
        "features of items: expected ids of the interactions, such as 'zz', found none, but 'a'"
    )
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match="expected a table of features, found an empty file"):
        with_features(rows, DataConfig(item_features=tmp_path / "empty.csv"))


def test_files_are_read_alike(tmp_path: Path) -> None:
    frame = films(genre=["x|y", "y", None, "x"], year=[1990.0, 2000.0, None, 2010.0])
    frame.to_csv(tmp_path / "f.csv", index=False)
    frame.to_csv(tmp_path / "f.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "f.parquet")
    known = read_features(frame, "item").hash
    for name in ("f.csv", "f.tsv", "f.parquet"):
        assert read_features(tmp_path / name, "item").hash == known, name


def test_commas_in_texts_stay_and_decimal_commas_are_points(tmp_path: Path) -> None:
    frame = films(kind=["mug, big", "tea", "tea", ""], price=["1,5", "2", "", "2,25"])
    points = frame.assign(price=["1.5", "2", "", "2.25"])
    thousands = frame.assign(price=["1,500", "2,000", "", "2,250"])
    for name, separator in (("f.tsv", "\t"), ("f.csv", ";"), ("g.csv", ",")):
        frame.to_csv(tmp_path / name, index=False, sep=separator)
        assert read_features(tmp_path / name, "item").hash == read_features(points, "item").hash
        thousands.to_csv(tmp_path / name, index=False, sep=separator)
        assert read_features(tmp_path / name, "item").columns[1].kind == "category"


def test_a_hundred_thousand_categories_are_read_quickly_and_small() -> None:
    frame = pd.DataFrame({"item": np.arange(100_000), "brand": [f"b{n}" for n in range(100_000)]})
    found = read_features(frame, "item")
    assert found.width == 100_000
    assert found.matrix.nnz == 100_000


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (films(year=["1990", "x"] + ["7"] * 2).assign(year=["1990"] * 3 + ["?"]), None),
        (pd.DataFrame({"item": list("aba"), "g": list("xyz")}),
         "item features row 3: item: expected one row for each id, found 'a' again"),
        (pd.DataFrame({"item": ["a", None], "g": list("xy")}),
         "item features row 2: item: expected an id, found nothing"),
        (pd.DataFrame({"thing": ["a"], "g": ["x"]}),
         "item features: expected a column of ids such as item or id, found 'thing', 'g'"),
        (pd.DataFrame({"item": ["a"], "g": [None]}),
         "item features: expected columns with values beside the id, found none"),
        (pd.DataFrame({"item": ["a"]}),
         "item features: expected columns with values beside the id, found none"),
        (films(v=[[1.0, 2.0], [1.0], None, None]),
         "item features row 2: v: expected 2 numbers, found shape (1,)"),
        (films(v=[[1.0, np.nan], [1.0, 1.0], None, None]),
         "item features row 1: v: expected finite numbers, found 'nan'"),
    ],
)  # fmt: skip
def test_bad_tables_are_refused_in_one_line(frame: pd.DataFrame, told: str | None) -> None:
    if told is None:  # too few numbers to be sure: a category
        assert read_features(frame, "item").columns[0].kind == "category"
        return
    with pytest.raises(DataError) as caught:
        read_features(frame, "item")
    assert str(caught.value) == told


def test_a_text_among_numbers_is_refused_by_its_row() -> None:
    cells = [str(n) for n in range(40)]
    cells[16] = "n/a"
    frame = pd.DataFrame({"item": np.arange(40), "price": cells})
    with pytest.raises(DataError) as caught:
        read_features(frame, "item")
    assert str(caught.value) == "item features row 17: price: expected a number, found 'n/a'"
    assert read_features(frame, "item", {"price": "category"}).width == 40
    with pytest.raises(DataError, match="price: expected one of category, tags, number, text, vec"):
        read_features(frame, "item", {"price": "float"})
    infinite = films(price=[1.0, 2.0, np.inf, 3.0])
    with pytest.raises(DataError, match=r"row 3: price: expected a finite number, found 'inf'"):
        read_features(infinite, "item", {"price": "number"})


def test_two_columns_of_a_name_are_refused() -> None:
    table = pd.DataFrame([["a", "x", "y"]], columns=["item", "kind", "kind"])
    with pytest.raises(DataError, match="expected one column of each name, found 'kind' twice"):
        read_features(table, "item")


def test_long_vectors_keep_their_direction() -> None:
    table = pd.DataFrame({"item": ["a", "b"], "vector": [[1e308, 1e308], [1e-3, 1e-3]]})
    rows = read_features(table, "item").matrix.toarray()
    np.testing.assert_allclose(rows, np.full((2, 2), 0.5**0.5), rtol=1e-6)


@pytest.mark.parametrize("cell", [{"a": 1}, [["a"]], b"x", 1j, np.ones((2, 2)), [("x", 1)]])
def test_cells_that_are_no_values_are_refused(cell: Any) -> None:
    frame = films(it=pd.Series([None, "x", cell, cell], dtype=object))
    for read in (
        lambda: read_features(frame, "item"),
        lambda: further_features(
            frame, "item", read_features(films(it=["x", "y", "x", "z"]), "item")
        ),
    ):
        with pytest.raises(DataError) as caught:
            read()
        told = "item features row 3: it: expected a text, a number or a list of these, found "
        assert str(caught.value).startswith(told)


def test_times_are_numbers() -> None:
    days = pd.to_datetime(["2024-01-01", None, "2024-03-01", "2024-05-01"])
    seconds = [1704067200.0, None, 1709251200.0, 1714521600.0]
    expected = read_features(films(since=seconds), "item").matrix.toarray()
    for column in (days, days.tz_localize("UTC").tz_convert("Europe/Berlin")):
        found = read_features(films(since=column), "item")
        assert found.columns[0].kind == "number"
        np.testing.assert_array_equal(found.matrix.toarray(), expected)


class Hub:
    """A data set of Hugging Face's `datasets`."""

    column_names = ("item", "kind")

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def to_pandas(self) -> pd.DataFrame:
        return self.frame


class Interchanged:
    """A frame that only speaks the interchange protocol."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def __dataframe__(self, *arguments: Any, **named: Any) -> Any:
        return self.frame.__dataframe__(*arguments, **named)


def test_tables_of_other_libraries_are_read_alike() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    frame = films(
        kind=["x", "y", None, "x"], tags=[["p", "q"], [], None, ["q"]],
        vector=[[1.0, 2.0], [3.0, 4.0], None, [0.0, 1.0]],
    )  # fmt: skip
    expected = read_features(frame, "item").hash
    table = pyarrow.Table.from_pandas(frame)
    forms = [table, Hub(frame), frame.to_dict("list"), frame.to_dict("records")]
    forms += [table.to_batches()[0], pyarrow.RecordBatchReader.from_stream(table)]
    for form in forms:
        assert read_features(form, "item").hash == expected, type(form)
    simple = frame[["item", "kind"]].fillna("")
    assert read_features(Interchanged(simple), "item").hash == read_features(simple, "item").hash
    with pytest.raises(DataError, match="expected one table, found a mapping of train"):
        read_features({"train": Hub(frame)}, "item")
    polars = pytest.importorskip("polars")
    assert read_features(polars.DataFrame(table), "item").hash == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected a table of features, found an empty file"),
        ("\n\n", "expected rows, found only blank lines"),
        ("item,kind\n", "expected rows, found none after the header"),
        ("item\na\nb\n", "expected columns with values beside the id, found none"),
        ("item,kind,kind\na,x,y\n", "expected one column of each name, found 'kind' twice"),
        ("item,item,kind\na,b,x\n", "expected one column 'item', found several"),
        ("item,kind\n,x\n", " row 1: item: expected an id, found nothing"),
        ("item,kind\na,x,y\n", " line 2: expected 2 columns, found 3"),
        ("a,1\nb,2\n", "expected a column of ids such as item or id, found 'a', '1'"),
        ('item,plot\na,"never ends\n', "expected a table of text, found: Error tokenizing"),
        ("id,feature,value\na,,x\n", " row 1: feature: expected a name, found nothing"),
        ("item,kind\na,\0\n", " line 2: expected text without NUL characters"),
    ],
)  # fmt: skip
def test_faulty_files_are_refused_in_one_line(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_features(path, "item")
    said = str(caught.value)
    assert said.startswith(str(path)) and told in said and "\n" not in said


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_marks_ends_of_lines_and_quoted_breaks_are_read(end: str, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    lines = ["item,kind", 'a,"x, ""y"""', "b,z", ""]
    path.write_bytes(b"\xef\xbb\xbf" + end.join(lines).encode())
    assert read_features(path, "item").columns[0].labels == ('x, "y"', "z")
    path.write_text('item,kind\na,"x\ny"\nb,z\n')
    assert read_features(path, "item").columns[0].labels == ("x\ny", "z")


def test_long_tables_of_too_many_features_are_refused() -> None:
    n = 5000
    table = pd.DataFrame({"id": np.arange(n), "feature": np.arange(n), "value": "x"})
    with pytest.raises(DataError, match="found 5,000 features of 5,000 ids"):
        read_features(table, "item")
