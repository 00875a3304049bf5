"""Times of any type as whole seconds since 1970: one rule, whatever column they come in.

Typed times and dates say what they are; those without a zone are in UTC. Texts are dates in ISO
form, also with " UTC" behind them. Numbers say it by their size: the units below cover the years
from 1973 to 5138 without overlap, and numbers of which every one reads as a date (20230131) are
dates. Smaller numbers, as of a counter, are seconds. A column that contradicts itself is refused.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sif.data.interactions.columns import (
    INT64,
    Column,
    Int64Array,
    column_of,
    distinct,
    is_text,
    plain,
    rows_of,
    told,
    written,
)
from sif.errors import EntryError

EXPECTED = "expected seconds since 1970 or an ISO date"
UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
"""A number below 1e11 counts the first of them, then each reaches a thousand times further."""
_BEGIN = np.array([1e11, 1e14, 1e17])
_CALENDAR = {
    6: "YYYYMM", 8: "YYYYMMDD", 10: "YYYYMMDDhh", 12: "YYYYMMDDhhmm", 14: "YYYYMMDDhhmmss",
}  # fmt: skip
"""Digits of a date that is written as a number, to its form; years from 1900 to 2100."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?", re.IGNORECASE)
_ZERO_ZONE = re.compile(r"\s*(?:UTC|GMT|Z)$", re.IGNORECASE)
_DIGITS = 19  # so many may exceed int64

Read = tuple[Int64Array, str | None]
"""Seconds (n,), and how numbers were read where they are not seconds."""


def seconds_of(values: Any) -> Read:
    """Times as seconds since 1970.

    Args:
        values: (n,) times, dates, numbers or texts in anything that `column_of` takes.

    Returns:
        (n,) int64, fractions dropped; and how the numbers were read ("milliseconds since 1970"), or
        None for seconds and for what says itself what it is.

    Raises:
        EntryError: A value is missing, no time, of another unit than the others, or out of int64.
        DataError: No column.
    """
    column = column_of(values, EXPECTED)
    if isinstance(column, pd.Categorical):
        with rows_of(column.codes):
            seconds, note = seconds_of(column.categories)
        return seconds[column.codes], note
    typed = _of_type(column)
    if typed is not None:
        return typed, None
    if is_text(column):
        codes, texts = distinct(plain(column).astype(object))
        with rows_of(codes):
            seconds, note = _of_texts([str(text).strip() for text in texts])
        return seconds[codes], note
    array = plain(column)
    if array.dtype.kind in "iuf":
        return _of_numbers(array)
    if array.dtype.kind in "bmcV" and len(array):
        raise _refused(0, array[0])
    return _of_texts([_spelled(row, cell) for row, cell in enumerate(array.tolist())])


def _refused(row: int, found: Any, expected: str = EXPECTED) -> EntryError:
    return EntryError(row, expected, told(found) if written(found) else "nothing")


def _of_type(column: Column) -> Int64Array | None:
    """Seconds of a column with a type for times; None: another type."""
    dtype: Any = column.dtype
    if isinstance(dtype, pd.DatetimeTZDtype):
        column = pd.Series(column).dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    elif isinstance(dtype, pd.PeriodDtype):
        column = pd.Series(column).dt.to_timestamp().to_numpy()
    elif isinstance(dtype, pd.ArrowDtype) and dtype.kind == "M":
        unit = dtype.pyarrow_dtype.unit
        column = plain(column.astype("int64[pyarrow]")).astype(f"M8[{unit}]")
    array = plain(column) if column.dtype.kind == "M" else None
    if array is None:
        return None
    seconds = array.astype("M8[s]")
    unit = np.datetime_data(array.dtype)[0]
    if unit not in ("ns", "us", "ms", "s"):
        wrapped = seconds.astype(array.dtype) != array
        if wrapped.any():
            raise EntryError(int(np.argmax(wrapped)), EXPECTED, "a date out of int64")
    return seconds.astype(np.int64)


def _of_numbers(array: npt.NDArray[Any]) -> Read:
    if not len(array):
        return np.zeros(0, dtype=np.int64), None
    size = np.abs(array.astype(np.float64))
    beyond = ~(size < 2.0**63)  # and NaN
    if beyond.any():
        row = int(np.argmax(beyond))
        raise _refused(row, array[row])
    dates = _calendar(array)
    if dates is not None:
        return dates
    unit = np.searchsorted(_BEGIN, size, side="right")
    present = np.bincount(unit[size > 0], minlength=len(UNITS))  # zero is zero in any unit
    usual = int(np.argmax(present))
    other = (unit != usual) & (size > 0)
    if other.any():
        row = int(np.argmax(other))
        raise _refused(row, array[row], f"expected {UNITS[usual]} since 1970 as in most rows")
    if array.dtype.kind == "f":
        seconds = np.floor(array.astype(np.float64) / 1000.0**usual)
    else:
        seconds = array.astype(np.int64) // 1000**usual
    return seconds.astype(np.int64), f"{UNITS[usual]} since 1970" if usual else None


def _calendar(array: npt.NDArray[Any]) -> Read | None:
    """Seconds of numbers such as 20230131, where they are dates; None: they are not."""
    for digits, form in _CALENDAR.items():
        scale = 10 ** (digits - 4)
        inside = (array >= 1900 * scale) & (array < 2101 * scale)
        if inside.mean() <= 0.5:
            continue
        numbers = np.where(inside, array, 0).astype(np.int64)
        seconds, valid = _read_calendar(numbers, digits)
        valid &= inside & (numbers == array)
        if valid.all():
            return seconds, f"dates {form}"
        if valid.mean() > 0.5:
            row = int(np.argmin(valid))
            raise _refused(row, array[row], f"expected a date {form} as in most rows")
    return None


def _read_calendar(numbers: Int64Array, digits: int) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
    """Seconds (n,) of numbers of so many digits, and which of them are dates."""
    pairs = [numbers // 10 ** (digits - end) % 100 for end in range(6, digits + 1, 2)]
    month, day, *clock = [*pairs, np.ones_like(numbers)] if digits == 6 else pairs
    hour, minute, second = [*clock, *[np.zeros_like(numbers)] * 3][:3]
    years = numbers // 10 ** (digits - 4) - 1970
    months = (12 * years + month - 1).astype("M8[M]")
    days = months.astype("M8[D]") + (day - 1)
    valid = (month >= 1) & (month <= 12) & (day >= 1) & (days.astype("M8[M]") == months)
    valid &= (hour < 24) & (minute < 60) & (second < 60)
    seconds = days.astype("M8[s]").astype(np.int64) + 3600 * hour + 60 * minute + second
    return seconds, valid


def _of_texts(texts: list[str]) -> Read:
    numeric = np.array([_NUMBER.fullmatch(text) is not None for text in texts], dtype=bool)
    seconds = np.zeros(len(texts), dtype=np.int64)
    seconds[~numeric] = _of_dates(texts, np.flatnonzero(~numeric).tolist())
    if not numeric.any():
        return seconds, None
    if not numeric.all():
        most = bool(numeric.mean() > 0.5)
        row = int(np.argmax(numeric != most))
        raise _refused(
            row, texts[row], f"expected a {'number' if most else 'date'} as in most rows"
        )
    numbers = [int(t) if t.isdecimal() and len(t) < _DIGITS else float(t) for t in texts]
    whole = all(isinstance(number, int) for number in numbers)
    return _of_numbers(np.array(numbers, dtype=np.int64 if whole else np.float64))


def _of_dates(texts: list[str], rows: list[int]) -> Int64Array:
    """Seconds of the texts at some rows, which are dates in ISO form."""
    # Words such as "now" are times to pandas.
    plain_dates = [
        _ZERO_ZONE.sub("", texts[row]) if texts[row][:4].isdecimal() else "" for row in rows
    ]
    times = pd.to_datetime(
        pd.Series(plain_dates, dtype=object), errors="coerce", utc=True, format="ISO8601"
    )
    seconds = times.dt.tz_localize(None).to_numpy().astype("M8[s]").astype(np.int64)
    for place in np.flatnonzero(times.isna().to_numpy()).tolist():
        try:
            seconds[place] = _distant(plain_dates[place])
        except ValueError:
            raise _refused(rows[place], texts[rows[place]]) from None
    return np.asarray(seconds)


def _distant(text: str) -> int:
    """Seconds of a date that nanoseconds do not reach, such as 9999-12-31."""
    time = datetime.fromisoformat(text)
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)


def _spelled(row: int, cell: Any) -> str:
    """A cell as a text that `_of_texts` reads."""
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace").strip()
    if isinstance(cell, str | np.datetime64):
        return str(cell).strip()
    if isinstance(cell, int | np.integer) and not isinstance(cell, bool):
        return str(cell) if INT64.min <= cell <= INT64.max else "beyond"
    if isinstance(cell, float | np.floating | Decimal):
        return repr(float(cell))
    if isinstance(cell, pd.Period):
        cell = cell.to_timestamp()
    if isinstance(cell, date):
        return cell.isoformat()
    raise _refused(row, cell)
