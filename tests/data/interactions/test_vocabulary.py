from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sif.data.interactions import Vocabulary
from sif.data.interactions.ids import LONGEST
from sif.errors import DataError, UnknownIdError


def test_integer_ids_are_ordered_as_numbers_and_others_as_text() -> None:
    assert Vocabulary.from_values(["10", "9", "-1", "9"])[0].ids.tolist() == ["-1", "9", "10"]
    assert Vocabulary.from_values(["10", "9", "x"])[0].ids.tolist() == ["10", "9", "x"]


def test_leading_zeros_tell_ids_apart() -> None:
    vocabulary, codes = Vocabulary.from_values(["007", "7", "10"])
    assert vocabulary.ids.tolist() == ["007", "7", "10"]
    assert codes.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "values",
    [
        np.array([196, 7]),
        np.array([196.0, 7.0]),
        np.array([b"196", b"7"]),
        pd.Series([196, None, 7]).dropna(),
        pd.Series([196, 7], dtype="Int64"),
        pd.Series(["196", "7"]),
        pd.Series(["196", "7"], dtype="category"),
        [196, "7"],
    ],
)
def test_whole_numbers_are_written_without_a_point(values: object) -> None:
    vocabulary, codes = Vocabulary.from_values(values)  # type: ignore[arg-type]
    assert vocabulary.ids.tolist() == ["7", "196"]
    assert codes.tolist() == [1, 0]


def test_values_written_alike_are_one_id() -> None:
    vocabulary, codes = Vocabulary.from_values([7, "7", 8])
    assert vocabulary.ids.tolist() == ["7", "8"]
    assert codes.tolist() == [0, 0, 1]


TEXTS = st.text(st.characters(exclude_characters="\x00.+", codec="utf-8")).filter(
    lambda text: text and text == text.strip()
)


@given(st.lists(TEXTS, max_size=30))
def test_codes_and_ids_are_inverse(values: list[str]) -> None:
    vocabulary, codes = Vocabulary.from_values(values)
    assert vocabulary.ids[codes].tolist() == values
    assert len(vocabulary) == len(set(values))
    assert vocabulary.index(values).tolist() == codes.tolist()


@given(st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=30))
def test_integers_keep_their_order(values: list[int]) -> None:
    _, codes = Vocabulary.from_values(np.array(values))
    assert codes.tolist() == np.unique(values, return_inverse=True)[1].tolist()


def test_unknown_missing_and_repeated_ids_are_refused() -> None:
    vocabulary = Vocabulary(["a", "b"])
    assert vocabulary.lookup(["b", "z"]).tolist() == [1, -1]
    with pytest.raises(DataError, match=r"^user id: expected one of 2 known ids .*, found 'z'$"):
        vocabulary.index(["a", "z"], name="user id")
    with pytest.raises(DataError, match="found nothing"):
        Vocabulary.from_values(["a", None])
    with pytest.raises(DataError, match="'a' twice"):
        Vocabulary(["a", "b", "a"])


def test_it_is_immutable_and_compared_by_content() -> None:
    vocabulary = Vocabulary([1, 2])
    with pytest.raises(ValueError, match="read-only"):
        vocabulary.ids[0] = "3"
    assert vocabulary == Vocabulary(["1", "2"])
    assert vocabulary != Vocabulary(["2", "1"])


@pytest.mark.parametrize("wrap", [list, np.array, lambda v: np.array(v, dtype=object), pd.Series])
def test_ids_are_not_longer_than_a_bound(wrap: Any) -> None:
    assert Vocabulary.from_values(wrap(["b", "x" * LONGEST]))[0].ids[1] == "x" * LONGEST
    told = r"^row \d: expected an id of at most 512 characters, found 5,000: 'x{40}'\.\.\.$"
    with pytest.raises(DataError, match=told):
        Vocabulary.from_values(wrap(["b", "x" * 5000]))
    with pytest.raises(DataError, match=told):
        Vocabulary(["b"]).index(wrap(["x" * 5000]))


def test_ids_with_nul_characters_are_not_cut_off() -> None:
    for text in ("a\0", "a\0b", "\0"):
        with pytest.raises(DataError, match="row 2: expected an id without NUL characters, found"):
            Vocabulary.from_values(["a", text])
        with pytest.raises(DataError, match="without NUL characters"):
            Vocabulary(["a"]).lookup([text])


def test_an_extension_keeps_the_numbers() -> None:
    """Whether it indexes the further ids apart or, once they are many, all of them."""
    vocabulary = Vocabulary([f"a{n}" for n in range(50)])
    ids = vocabulary.ids.tolist()
    for size in (0, 1, 3, 700, 700):
        further = [f"b{len(ids) + n}" for n in range(size)]
        longer, ids = vocabulary.extended(further), ids + further
        assert longer.ids.tolist() == ids and longer == Vocabulary(ids)
        asked = ["none", *ids[::7], *further]
        assert longer.lookup(asked).tolist() == Vocabulary(ids).lookup(asked).tolist()
        assert len(vocabulary) == len(ids) - size  # which has not changed
        vocabulary = longer
    with pytest.raises(UnknownIdError, match="user: expected one of 1454 known ids"):
        vocabulary.index(["none"], "user")


@pytest.mark.parametrize("further", [["x", "x"], ["a"], ["b"]])
def test_an_extension_takes_new_ids_once(further: list[str]) -> None:
    with pytest.raises(DataError, match="expected distinct ids"):
        Vocabulary(["a"]).extended(["b"]).extended(further)
