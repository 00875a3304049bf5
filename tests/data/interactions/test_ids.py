from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sif.data.interactions import Vocabulary, load_split_file, read_frame, read_interactions
from sif.data.interactions.ids import id_string, id_strings
from sif.errors import DataError, EntryError

Form = Callable[[list[int]], Any]


def dictionary(values: list[Any], kind: Any) -> pa.Array:
    return pa.array(values, kind).dictionary_encode()


OF_INTEGERS: dict[str, Form] = {
    "list": list,
    "tuple": tuple,
    "int64": lambda v: np.array(v, np.int64),
    "objects": lambda v: np.array(v, object),
    "mixed": lambda v: [n if k % 2 else str(n) for k, n in enumerate(v)],
    "series": lambda v: pd.Series(v, dtype="int64"),
    "nullable": lambda v: pd.Series(v, dtype="Int64"),
    "arrow series": lambda v: pd.Series(v, dtype="int64[pyarrow]"),
    "arrow array": lambda v: pa.array(v, pa.int64()),
    "arrow chunks": lambda v: pa.chunked_array([pa.array(v, pa.int64())]),
    "arrow dictionary": lambda v: dictionary(v, pa.int64()),
    "arrow decimals": lambda v: pa.array([Decimal(n) for n in v], pa.decimal128(30, 2)),
    "decimals": lambda v: [Decimal(n) for n in v],
    "categorical": pd.Categorical,
    "categorical texts": lambda v: pd.Categorical([str(n) for n in v]),
    "texts": lambda v: [str(n) for n in v],
    "fixed texts": lambda v: np.array([f" {n}" for n in v], dtype=np.str_),
    "other byte order": lambda v: np.array([str(n) for n in v], dtype=np.str_).astype(">U24"),
    "bytes": lambda v: [str(n).encode() for n in v],
    "fixed bytes": lambda v: np.array([str(n).encode() for n in v], dtype=np.bytes_),
    "arrow binary": lambda v: pa.array([str(n).encode() for n in v], pa.binary()),
    "spaced": lambda v: [f"\t{n} " for n in v],
    "string": lambda v: pd.Series([str(n) for n in v], dtype="string"),
    "arrow strings": lambda v: pa.array([str(n) for n in v], pa.string()),
    "arrow words": lambda v: dictionary([str(n) for n in v], pa.string()),
    "scalars": lambda v: [np.int64(n) for n in v],
    "arrow scalars": lambda v: [pa.scalar(n, pa.int64()) for n in v],
    "tensor": lambda v: torch.tensor(v, dtype=torch.int64),
    "pointed": lambda v: [f"{n}.0" if abs(n) <= 2**53 else str(n) for n in v],
    "masked": lambda v: np.ma.masked_array(np.array(v, np.int64), False),
    "index": lambda v: pd.Index(v, dtype="int64"),
    "iterator": iter,
}
OF_FLOATS: dict[str, Form] = {
    "float64": lambda v: np.array(v, np.float64),
    "floats": lambda v: [float(n) for n in v],
    "nullable": lambda v: pd.Series(v, dtype="Float64"),
    "arrow": lambda v: pa.array([float(n) for n in v], pa.float64()),
    "categorical": lambda v: pd.Categorical([float(n) for n in v]),
    "texts": lambda v: [repr(float(n)) for n in v],
    "exponents": lambda v: [f"{n:.16e}" if abs(n) >= 10 else str(n) for n in v],
    "objects": lambda v: np.array([float(n) for n in v], object),
    "tensor": lambda v: torch.tensor(v, dtype=torch.float64),
    "sparse": lambda v: pd.Series(np.array(v, np.float64)).astype("Sparse[float64]"),
}
INT64 = st.integers(-(2**63), 2**63 - 1)
EXACT = st.integers(-(2**53), 2**53)


@pytest.mark.parametrize("form", OF_INTEGERS)
@given(values=st.lists(INT64 | st.integers(-9, 9), min_size=1, max_size=12))
def test_integers_are_the_same_ids_in_any_column(form: str, values: list[int]) -> None:
    expected, codes = Vocabulary.from_values(np.array(values, np.int64))
    assert expected.ids[codes].tolist() == [str(value) for value in values]
    actual, numbers = Vocabulary.from_values(OF_INTEGERS[form](values))
    assert actual == expected and numbers.tolist() == codes.tolist()
    assert id_strings(OF_INTEGERS[form](values)).tolist() == [str(value) for value in values]


@pytest.mark.parametrize("form", OF_FLOATS)
@given(values=st.lists(EXACT | st.integers(-9, 9), min_size=1, max_size=12))
def test_whole_floats_are_the_ids_that_the_integers_are(form: str, values: list[int]) -> None:
    expected, codes = Vocabulary.from_values(np.array(values, np.int64))
    actual, numbers = Vocabulary.from_values(OF_FLOATS[form](values))
    assert actual == expected and numbers.tolist() == codes.tolist()


@given(value=st.integers(-(2**31), 2**31 - 1))
def test_a_scalar_of_any_type_is_the_id_of_its_column(value: int) -> None:
    scalars = [
        value, float(value), np.int32(value), np.int64(value), np.float64(value), str(value),
        f" {value}\n", f"{value}.0", f"{value}.00", str(value).encode(), Decimal(value),
        np.array(value), np.str_(value), pa.scalar(value), torch.tensor(value),
        bytearray(str(value).encode()),
    ]  # fmt: skip
    assert {id_string(scalar) for scalar in scalars} == {str(value)}


TEXTS = st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=12)


@given(st.lists(TEXTS.filter(str.strip), min_size=1, max_size=12))
def test_texts_have_one_form_that_stays(values: list[str]) -> None:
    texts = id_strings(values).tolist()
    for text, value in zip(texts, values, strict=True):
        assert text == value.strip() or float(text) == float(value)
    assert id_strings(texts).tolist() == texts
    assert id_strings(np.array(texts)).tolist() == texts
    for column in (pd.Categorical(values), pd.Series(values, dtype="string"), pa.array(values)):
        assert id_strings(column).tolist() == texts
    vocabulary, codes = Vocabulary.from_values(values)
    assert vocabulary.ids[codes].tolist() == texts
    assert vocabulary.index(values).tolist() == codes.tolist()


@pytest.mark.parametrize(
    "text",
    ["007", "1.10", "1.50", "007.0", "1e5", "12e5", "-0", "+5", "1.0.0", "v1.0", ".0", "1,0"],
)
def test_texts_that_no_float_is_written_as_stay(text: str) -> None:
    assert id_string(text) == text


def test_other_types_have_the_text_of_their_own() -> None:
    name = uuid.uuid4()
    values = [0.5, np.float32(0.1), True, date(2020, 1, 2), name, pd.Interval(0, 1), Decimal("1.5")]
    texts = ["0.5", "0.1", "True", "2020-01-02", str(name), "(0, 1]", "1.5"]
    assert id_strings(values).tolist() == texts
    assert id_strings(np.array([0.1, 7], np.float32)).tolist() == ["0.1", "7"]
    assert id_strings(pd.cut([1, 5], [0, 2, 6])).tolist() == ["(0, 2]", "(2, 6]"]
    vocabulary, codes = Vocabulary.from_values([True, 1, "1", 1.0])
    assert vocabulary.ids[codes].tolist() == ["True", "1", "1", "1"]


OUTSIDE: dict[str, Any] = {
    "uint64": np.array([1, 2**63], np.uint64),
    "nullable": pd.array([1, 2**63], dtype="UInt64"),
    "arrow": pa.array([1, 2**64 - 1], pa.uint64()),
    "integers": [1, 2**63],
    "thousands of digits": [1, 10**5000],
    "scalars": [1, np.uint64(2**63)],
    "floats": [1.0, 1e300],
    "one between floats": np.array([1.0, 2.0**53 + 2]),
    "half floats": np.array([1, 4096], np.float16),
    "infinite": [1.0, np.inf],
    "decimals": [Decimal(1), Decimal("1E+999999")],
    "texts of floats": ["1", "1e+300"],
    "long texts of floats": ["1", "9007199254740993.0"],
    "categorical": pd.Categorical([1.0, 1e300]),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_numbers_that_are_not_exact_in_int64_are_refused(name: str) -> None:
    for read in (Vocabulary.from_values, id_strings):
        with pytest.raises(EntryError, match=r"^row 2: expected an id .*, found ") as caught:
            read(OUTSIDE[name])  # type: ignore[operator]
        assert caught.value.row == 1 and len(str(caught.value)) < 200
    assert id_string(str(2**70)) == str(2**70)  # a text of any digits is a text


MISSING: dict[str, Any] = {
    "None": ["a", "b", None],
    "NaN": [1.0, 2.0, float("nan")],
    "floats": np.array([1.0, 2.0, np.nan]),
    "NA": pd.Series(["a", "b", pd.NA], dtype="string"),
    "nullable": pd.array([1, 2, None], dtype="Int64"),
    "arrow": pa.array([1, 2, None]),
    "dictionary": dictionary(["a", "b", None], pa.string()),
    "categorical": pd.Categorical(["a", "b", None]),
    "empty": ["a", "b", ""],
    "blank": np.array(["a", "b", " "]),
    "blank category": pd.Categorical(["b", "a", "\t"]),
    "masked": np.ma.masked_array([1, 2, 3], [False, False, True]),
    "no time": pd.to_datetime(pd.Series(["2020", "2021", None])),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_id_is_refused_by_its_row(name: str) -> None:
    for read in (Vocabulary.from_values, id_strings):
        with pytest.raises(EntryError, match=r"^row 3: expected an id, found nothing$"):
            read(MISSING[name])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], r"expected an id \(text or a whole number\), found '\[1, 2\]', a list"),
        ({"a": 1}, "found .*, a dict"),
        (1j, "found '1j', a complex"),
        (b"\xff", "expected an id in UTF-8, found"),
        ("\ud800", "expected an id in UTF-8, found"),
        (None, "expected an id, found nothing"),
        (" ", "expected an id, found nothing"),
        ("a\0", "without NUL characters, found"),
    ],
)
def test_what_is_no_id_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"^user: .*{message}"):
        id_string(value, "user")
    with pytest.raises(EntryError, match=f"^row 2: .*{message}"):
        id_strings(["a", value])


@pytest.mark.parametrize(
    "table", [pd.DataFrame({"user": [1]}), np.zeros((2, 2)), {"a": 1}, 5, torch.zeros(2, 2)]
)
def test_a_table_is_no_column_of_ids(table: Any) -> None:
    with pytest.raises(DataError, match="expected an id in every cell of one column, found a"):
        id_strings(table)


def ids_of(data: Any) -> list[list[str]]:
    return [v.ids[data.ids[:, f]].tolist() for f, v in enumerate(data.vocabularies)]


@pytest.mark.parametrize(
    "column",
    [
        [3, 20, 3],
        [3.0, 20.0, 3.0],
        pd.Categorical([3, 20, 3]),
        pd.Categorical([3.0, 20.0, 3.0]),
        pd.Series([3, 20, 3], dtype="Int32"),
        pd.Series(["3", " 20", "3.0"], dtype="string"),
        pd.Series([3, 20, 3], dtype="uint8[pyarrow]"),
        pd.Series([b"3", b"20", b"3"], dtype=object),
    ],
)
def test_frame_csv_parquet_and_npz_give_the_same_ids(column: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame({"user": column, "item": ["a", "b ", " c"]})
    expected = [["3", "20", "3"], ["a", "b", "c"]]
    assert ids_of(read_frame(frame)) == expected
    frame.to_parquet(tmp_path / "a.parquet")
    assert ids_of(read_interactions(tmp_path / "a.parquet")) == expected
    if not isinstance(frame["user"].iloc[0], bytes):
        frame.to_csv(tmp_path / "a.csv", index=False)
        assert ids_of(read_interactions(tmp_path / "a.csv")) == expected
    np.savez(
        tmp_path / "a.npz",
        user=[0, 1, 0], item=[0, 1, 2], part=[0, 1, 2],
        user_ids=np.array(id_strings(frame["user"].iloc[:2]), dtype=np.bytes_),
        item_ids=np.array(["a", "b ", " c"]),
    )  # fmt: skip
    assert ids_of(load_split_file(tmp_path / "a.npz").interactions) == expected


def test_numbers_of_a_split_file_are_not_wrapped(tmp_path: Path) -> None:
    base = {"user": np.arange(30) // 6, "item": np.arange(30) % 6, "part": np.arange(30) % 3}
    for wrong in (np.array([1e300] * 30), np.array([2**63] * 30, np.uint64)):
        np.savez(tmp_path / "a.npz", **{**base, "user": wrong})
        with pytest.raises(DataError, match=r"a\.npz row 1: user: expected an integer.*, found"):
            load_split_file(tmp_path / "a.npz")
