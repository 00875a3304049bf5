from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sif.data.interactions import load_split_file, read_frame, read_interactions
from sif.data.interactions.ratings import ratings_of
from sif.errors import DataError, EntryError


@given(st.lists(st.floats(-(2.0**40), 2.0**40, width=32), min_size=1, max_size=12))
def test_numbers_of_any_type_are_the_same_ratings(values: list[float]) -> None:
    expected = np.array(values, np.float32)
    forms: list[Any] = [
        values, np.array(values), expected, pd.Series(values, dtype="Float64"), pa.array(values),
        pd.Categorical(values), [repr(value) for value in values], [Decimal(v) for v in values],
        pd.Series([f" {value!r} " for value in values], dtype="string"),
        [repr(value).encode() for value in values], np.array(values, object),
        pd.Series(values, dtype="double[pyarrow]"),
    ]  # fmt: skip
    for form in forms:
        ratings = ratings_of(form)
        assert ratings.dtype == np.float32
        assert (ratings == expected).all()


BOOLEANS: list[Any] = [
    [True, False],
    np.array([True, False]),
    pd.array([True, False], dtype="boolean"),
    pd.Series([True, False], dtype="bool[pyarrow]"),
    pa.array([True, False]),
    pd.Categorical([True, False]),
    ["true", "FALSE"],
    pd.Series([True, "False"], dtype=object),
]


@pytest.mark.parametrize("place", range(len(BOOLEANS)))
def test_booleans_are_one_and_zero(place: int) -> None:
    assert ratings_of(BOOLEANS[place]).tolist() == [1, 0]


def test_booleans_are_one_and_zero_wherever_they_are_read(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user": list("aab"), "item": list("xyx"), "rating": [True, False, True]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    np.savez(
        tmp_path / "a.npz", user=[0, 0, 1], item=[0, 1, 0], part=[0, 1, 2], rating=frame["rating"]
    )
    read = [
        read_frame(frame),
        read_interactions(tmp_path / "a.csv"),
        read_interactions(tmp_path / "a.parquet"),
        load_split_file(tmp_path / "a.npz").interactions,
    ]
    for data in read:
        assert data.rating is not None and data.rating.tolist() == [1, 0, 1]


def test_a_decimal_comma_is_read_where_there_is_no_doubt(tmp_path: Path) -> None:
    assert ratings_of(["3,5", "4", "-1,25", "1,234"]).tolist() == [3.5, 4, -1.25, np.float32(1.234)]
    for doubtful in (["1,234", "2"], ["3,5", "4.5"], ["1,234,5", "2"]):
        with pytest.raises(EntryError, match=r"row 1: expected a number, found '"):
            ratings_of(doubtful)
    path = tmp_path / "a.csv"
    path.write_text("user;item;rating\na;x;3,5\na;y;4\n")
    rating = read_interactions(path).rating
    assert rating is not None and rating.tolist() == [3.5, 4]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("five", "expected a number, found 'five'"),
        ("1_000", "expected a number, found '1_000'"),
        ("0x10", "expected a number, found '0x10'"),
        ("", "expected a number, found nothing"),
        (None, "expected a number, found nothing"),
        (float("nan"), "expected a number, found nothing"),
        ("nan", "expected a finite number, found 'nan'"),
        ("-inf", "expected a finite number, found '-inf'"),
        (1e39, r"expected a finite number, found '1e\+39'"),
        (10**400, "expected a finite number, found 'inf'"),
        (1j, "expected a number, found '1j'"),
        ([1], r"expected a number, found '\[1\]'"),
        (pd.Timestamp(0), "expected a number, found '1970-01-01 00:00:00'"),
        (b"\xff", "expected a number, found"),
    ],
)
def test_what_is_no_rating_is_refused_by_its_row(value: Any, message: str) -> None:
    column = pd.Series(["1", value], dtype=object)
    with pytest.raises(EntryError, match=f"^row 2: {message}"):
        ratings_of(column)


def test_times_are_no_ratings() -> None:
    frame = pd.DataFrame({"user": ["a", "b"], "item": ["x", "y"]})
    frame["rating"] = pd.to_datetime(["2020-01-01", "2020-01-02"])
    with pytest.raises(DataError, match="row 1: rating: expected a number, found '2020-01-01"):
        read_frame(frame)
