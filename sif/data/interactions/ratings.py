"""Ratings of any type as numbers: one rule, whatever column they come in.

Numbers and texts of numbers stand for themselves, True and False for 1 and 0. A decimal comma is
read where the column leaves no doubt that it is one.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sif.data.interactions.columns import column_of, distinct, is_text, plain, rows_of, told
from sif.errors import EntryError

EXPECTED = "expected a number"
_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf|infinity|nan)", re.IGNORECASE
)
_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_WORDS = {"true": 1.0, "false": 0.0}


def ratings_of(values: Any) -> npt.NDArray[np.float32]:
    """Ratings as numbers.

    Args:
        values: (n,) numbers, booleans or texts in anything that `column_of` takes.

    Returns:
        (n,) float32, all finite.

    Raises:
        EntryError: A value is missing, no number, or not finite as float32.
        DataError: No column.
    """
    numbers = numbers_of(values)
    with np.errstate(over="ignore"):
        ratings = numbers.astype(np.float32)
    bad = ~np.isfinite(ratings)
    if bad.any():
        row = int(np.argmax(bad))
        raise EntryError(row, "expected a finite number", told(numbers[row]))
    return ratings


def numbers_of(values: Any) -> npt.NDArray[np.float64]:
    """Values as numbers (n,), finite or not; arguments and further errors as in `ratings_of`."""
    column = column_of(values, EXPECTED)
    if isinstance(column, pd.Categorical):
        with rows_of(column.codes):
            numbers = numbers_of(column.categories)
        return np.asarray(numbers[column.codes])
    if is_text(column):
        codes, texts = distinct(plain(column).astype(object))
        with rows_of(codes):
            numbers = _of_texts([str(text) for text in texts])
        return np.asarray(numbers[codes])
    array = plain(column)
    if array.dtype.kind in "biuf":
        return array.astype(np.float64)
    if array.dtype.kind in "mMcV":
        raise EntryError(0, EXPECTED, told(array[0]))
    return _of_texts([_spelled(row, cell) for row, cell in enumerate(array.tolist())])


def _spelled(row: int, cell: Any) -> str:
    """A cell as a text that `_of_texts` reads."""
    if isinstance(cell, str | bool | np.bool_):
        return str(cell)
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    if not isinstance(cell, int | float | Decimal | Fraction | np.integer | np.floating):
        raise EntryError(row, EXPECTED, told(cell))
    try:
        return repr(float(cell))
    except OverflowError:
        return "inf"


def _of_texts(texts: list[str]) -> npt.NDArray[np.float64]:
    texts = [text.strip() for text in texts]
    commas = [text for text in texts if _COMMA.fullmatch(text)]
    # "1,234" alone may be a thousand and more.
    if any(len(text.partition(",")[2]) != 3 for text in commas) and not any(
        "." in text for text in texts
    ):
        texts = [text.replace(",", ".") if _COMMA.fullmatch(text) else text for text in texts]
    numbers = np.empty(len(texts))
    for row, text in enumerate(texts):
        if text.lower() in _WORDS:
            numbers[row] = _WORDS[text.lower()]
        elif _NUMBER.fullmatch(text):
            numbers[row] = float(text)
        else:
            raise EntryError(row, EXPECTED, told(text) if text else "nothing")
    return numbers
