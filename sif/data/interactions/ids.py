"""Ids of any type as texts: one form each, whatever column or scalar they come in.

An id is the text that a user writes, without spaces around it: 196, 196.0, "196", " 196 ", "196.0",
b"196" and a categorical of any of them are "196". Whole numbers that a program wrote as floats lose
their point, as pandas writes a column of whole numbers with holes; "007" stays "007". Numbers out
of int64, and floats that are too large to be exact, are refused: another id may have become them.
Texts of any number of digits are texts.
"""

from __future__ import annotations

import re
import uuid
from datetime import date, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sif.data.interactions.columns import (
    INT64,
    Int64Array,
    column_of,
    distinct,
    is_text,
    plain,
    rows_of,
    told,
)
from sif.errors import DataError, EntryError

LONGEST = 512
"""Characters of an id, at most: a vocabulary takes as much memory for each as for its longest."""
EXPECTED = "expected an id"
_EXACT = 2**53  # whole numbers up to here have a float of their own
_POINT = re.compile(r"-?(?:0|[1-9][0-9]*)\.0+")
_EXPONENT = re.compile(r"-?[0-9](?:\.[0-9]+)?[eE]\+[0-9]+")  # 1e+16, as pandas, R and Excel write
_NAMED = (
    date, time, timedelta, np.datetime64, np.timedelta64, uuid.UUID, pd.Interval, pd.Period
)  # fmt: skip
"""Types whose own text is an id."""

Texts = npt.NDArray[np.str_]


class _Fault(Exception):
    """The fault of one id: what was expected and what was found."""


def id_strings(values: Any) -> Texts:
    """Ids as texts.

    Args:
        values: (n,) ids in anything that `column_of` takes.

    Returns:
        (n,) texts.

    Raises:
        EntryError: A value is missing or blank, no id (a list, an object), longer than `LONGEST`,
            has a NUL character or no text in UTF-8, or is a number that is not exact in int64.
        DataError: No column.
    """
    column = column_of(values, EXPECTED)
    if isinstance(column, pd.Categorical):
        with rows_of(column.codes):
            texts = id_strings(column.categories)
        return np.asarray(texts[column.codes])
    array = plain(column)
    if array.dtype.kind in "iu":
        return _of_integers(array)
    if array.dtype.kind == "f":
        return _of_floats(array)
    if array.dtype.kind == "U":
        return _of_fixed(array)
    if array.dtype.kind in "mM":
        array = pd.Series(array).astype(object).to_numpy()
    return _of_objects(array.tolist())


def id_string(value: Any, name: str = "id") -> str:
    """One id as text; errors as in `id_strings`, of which none names a row."""
    try:
        if type(value) is str:
            return _formed(value)
        return str(id_strings([value])[0])
    except _Fault as fault:
        expected, found = fault.args
        raise DataError(f"{name}: {expected}, found {found}") from None
    except EntryError as error:
        raise DataError(f"{name}: {error.expected}, found {error.found}") from None


def encoded(values: Any) -> tuple[Texts, Int64Array]:
    """The distinct ids of a column as texts, as they appear, and the code (n,) of each value.

    Arguments and errors as in `id_strings`.
    """
    column = column_of(values, EXPECTED)
    if isinstance(column, pd.Categorical):
        codes, uniques = column.codes.astype(np.int64), column.categories
    elif pd.api.types.is_numeric_dtype(column.dtype) or is_text(column):
        codes, uniques = distinct(plain(column).astype(object) if is_text(column) else column)
    else:  # of mixed types, where True would be 1
        texts = id_strings(column)
        codes, uniques = np.arange(len(texts)), texts
    with rows_of(codes):
        texts = id_strings(uniques)
    # Two values may be written alike (7 and "7"), so texts are made distinct once more.
    merged, alike = pd.factorize(texts.astype(object))
    return np.asarray(alike, dtype=np.str_), merged.astype(np.int64)[codes]


def _of_integers(array: npt.NDArray[Any]) -> Texts:
    beyond = array > INT64.max  # in the array's own type, where nothing wraps
    if beyond.any():
        row = int(np.argmax(beyond))
        raise EntryError(row, f"{EXPECTED} in int64 or as text", told(array[row]))
    return array.astype(np.str_)


def _of_floats(array: npt.NDArray[Any]) -> Texts:
    """Whole floats without their point, others in their shortest form."""
    most = min(2.0 ** (np.finfo(array.dtype).nmant + 1), float(_EXACT))
    inexact = ~(np.abs(array) <= most)
    if inexact.any():
        row = int(np.argmax(inexact))
        limit = f"{EXPECTED} that is exact (a float up to {int(most)}, or text)"
        raise EntryError(row, limit, told(array[row]))
    whole = array == np.floor(array)
    texts = np.where(whole, array, 0).astype(np.int64).astype(np.str_).astype(object)
    texts[~whole] = [str(value) for value in array[~whole]]
    return np.asarray(texts, dtype=np.str_)


def _of_objects(values: list[Any]) -> Texts:
    texts = []
    for row, value in enumerate(values):
        try:
            text = (value if type(value) is str else _text(value)).strip()
            # An array of texts ends them at NUL and is as wide as the longest, so these come first.
            if len(text) > LONGEST or "\0" in text:
                _refuse(text)
        except _Fault as fault:
            raise EntryError(row, *fault.args) from None
        texts.append(text)
    return _of_fixed(np.asarray(texts, dtype=np.str_))


def _of_fixed(array: Texts) -> Texts:
    """Texts of fixed width: only those that may not be in their form are looked at one by one."""
    if not len(array):
        return array.astype(np.str_)
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    width = array.dtype.itemsize // 4
    characters = array.view(np.uint32).reshape(len(array), width)
    size = np.asarray(np.char.str_len(array))
    last = characters[np.arange(len(array)), np.maximum(size - 1, 0)]
    odd = (characters[:, 0] <= ord(" ")) | (last <= ord(" "))
    if width > 2:  # "1.0"
        odd |= (last == ord("0")) & (characters == ord(".")).any(axis=1)
        odd |= (characters == ord("+")).any(axis=1)
    if int(characters.max()) > 127:
        odd |= (characters > 127).any(axis=1)
    odd |= size > LONGEST
    if not odd.any():
        return array.astype(np.str_)
    texts = array.tolist()
    for row in np.flatnonzero(odd).tolist():
        try:
            texts[row] = _formed(texts[row])
        except _Fault as fault:
            raise EntryError(row, *fault.args) from None
    return np.asarray(texts, dtype=np.str_)


def _formed(text: str) -> str:
    """A text in its one form."""
    text = text.strip()
    _refuse(text)
    if _POINT.fullmatch(text) or _EXPONENT.fullmatch(text):
        value = Decimal(text) if abs(float(text)) <= _EXACT else Decimal("inf")
        if abs(value) > _EXACT:
            raise _Fault(f"{EXPECTED} that is exact", f"{told(text)}, a rounded number")
        if value == value.to_integral_value():
            return str(int(value))
    return text


def _refuse(text: str) -> None:
    """Raises for a text that is no id.

    NUL characters are refused since fixed-width texts end at them, so that "a" and "a" with a NUL
    behind it would be one id.
    """
    if not text:
        raise _Fault(EXPECTED, "nothing")
    if len(text) > LONGEST:
        raise _Fault(f"{EXPECTED} of at most {LONGEST} characters", f"{len(text):,}: {told(text)}")
    if "\0" in text:
        raise _Fault(f"{EXPECTED} without NUL characters", told(text))
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _Fault(f"{EXPECTED} in UTF-8", told(text))


def _of_exact(value: Any) -> str:
    # Compared before it is an integer: Decimal("1E+999999") has a million digits.
    if not INT64.min <= value <= INT64.max:
        raise _Fault(f"{EXPECTED} in int64 or as text", told(value))
    return str(int(value) if value == int(value) else value)


def _text(value: Any) -> str:
    """The text of one value of any type."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            raise _Fault(f"{EXPECTED} in UTF-8", told(bytes(value))) from None
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer | Decimal | Fraction):
        return _of_exact(value)
    if isinstance(value, float | np.floating):
        try:
            return str(_of_floats(np.asarray([value]))[0])
        except EntryError as error:
            raise _Fault(error.expected, error.found) from None
    if isinstance(value, _NAMED):
        return str(value)
    if hasattr(value, "as_py"):  # of Arrow
        return _text(value.as_py())
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # of numpy or torch
        return _text(value.item())
    raise _Fault(f"{EXPECTED} (text or a whole number)", f"{told(value)}, a {type(value).__name__}")
