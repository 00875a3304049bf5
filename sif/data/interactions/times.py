"""Times of any type as whole seconds since 1970: one rule, whatever column they come in.

Typed times and dates say what they are; those without a zone are in UTC. Texts are dates in ISO
form, also with " UTC" behind them. Numbers say it by their size: the units below cover the years
from 1973 to 5138 without overlap, and numbers of which every one reads as a date (20230131) are
dates. Smaller numbers, as of a counter, are seconds. A column that contradicts itself is refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
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
from sif.errors import ConfigError, EntryError

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


def moment_of(value: Any, name: str) -> int:
    """A single time as seconds since 1970.

    Args:
        value: A time, date, number or text.
        name: Of the setting.

    Raises:
        ConfigError: It is no time.
    """
    try:
        number = float(value) if _NUMBER.fullmatch(str(value).strip()) else math.nan
        if abs(number) < _BEGIN[0]:  # seconds, though the digits may read as a date
            return math.floor(number)
        seconds = seconds_of([value])[0]
    except EntryError:
        raise ConfigError(f"{name}: {EXPECTED}, found {value!r}") from None
    return int(seconds[0])


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


@dataclass(frozen=True)
class NumberForm:
    """How numbers are read as times.

    Attributes:
        digits: Of dates such as 20230131; 0: they count from 1970.
        unit: Position in `UNITS` of what they count.
    """

    digits: int = 0
    unit: int = 0

    @property
    def note(self) -> str | None:
        """How numbers are read, where they are not seconds."""
        if self.digits:
            return f"dates {_CALENDAR[self.digits]}"
        return f"{UNITS[self.unit]} since 1970" if self.unit else None

    def seconds(self, array: npt.NDArray[Any]) -> Int64Array:
        """Seconds of numbers (n,).

        Raises:
            EntryError: A number of another form.
        """
        if self.digits:
            seconds, valid = _dates(array, self.digits)
            if not valid.all():
                row = int(np.argmin(valid))
                form = _CALENDAR[self.digits]
                raise _refused(row, array[row], f"expected a date {form} as in most rows")
            return seconds
        other = (_units(array) != self.unit) & (array != 0)
        if other.any():
            row = int(np.argmax(other))
            expected = f"expected {UNITS[self.unit]} since 1970 as in most rows"
            raise _refused(row, array[row], expected)
        if array.dtype.kind == "f":
            array = np.floor(array.astype(np.float64) / 1000.0**self.unit)
            return np.asarray(array.astype(np.int64))
        return np.asarray(array.astype(np.int64) // 1000**self.unit)


@dataclass
class NumberSurvey:
    """Counts what numbers of a column may be, some rows at a time.

    Attributes:
        rows: Numbers that were seen.
        units: Those of each of `UNITS`, zeros left out.
        inside: Those in the years of each form of dates, by digits.
        valid: Those of them that are dates.
    """

    rows: int = 0
    units: Int64Array = field(default_factory=lambda: np.zeros(len(UNITS), dtype=np.int64))
    inside: dict[int, int] = field(default_factory=lambda: dict.fromkeys(_CALENDAR, 0))
    valid: dict[int, int] = field(default_factory=lambda: dict.fromkeys(_CALENDAR, 0))

    def add(self, array: npt.NDArray[Any]) -> None:
        """Counts numbers (n,).

        Raises:
            EntryError: A number that is not finite in int64.
        """
        if not len(array):
            return
        low, high = array.min(), array.max()
        if not (low > -(2.0**63) and high < 2.0**63):  # and NaN
            beyond = ~(np.abs(array.astype(np.float64)) < 2.0**63)
            row = int(np.argmax(beyond))
            raise _refused(row, array[row])
        self.rows += len(array)
        if low > 0 and high < _BEGIN[0]:
            self.units[0] += len(array)
        else:
            self.units += np.bincount(_units(array[array != 0]), minlength=len(UNITS))
        for digits in _CALENDAR:
            scale = 10 ** (digits - 4)
            if low < 2101 * scale and high >= 1900 * scale:
                inside = int(_in_years(array, digits).sum())
                self.inside[digits] += inside
                if inside:
                    self.valid[digits] += int(_dates(array, digits)[1].sum())

    def form(self) -> NumberForm:
        """The form of the column: dates where all numbers are some, else the unit of most."""
        for digits in _CALENDAR:
            if self.inside[digits] > self.rows / 2 and self.valid[digits] > self.rows / 2:
                return NumberForm(digits)
        return NumberForm(unit=int(np.argmax(self.units)))


def _units(array: npt.NDArray[Any]) -> Int64Array:
    return np.searchsorted(_BEGIN, np.abs(array.astype(np.float64)), side="right")


def _of_numbers(array: npt.NDArray[Any]) -> Read:
    survey = NumberSurvey()
    survey.add(array)
    form = survey.form()
    return form.seconds(array), form.note


def _in_years(array: npt.NDArray[Any], digits: int) -> npt.NDArray[np.bool_]:
    """(n,): the numbers of so many digits that begin with a year from 1900 to 2100."""
    scale = 10 ** (digits - 4)
    inside: npt.NDArray[np.bool_] = (array >= 1900 * scale) & (array < 2101 * scale)
    return inside


def _dates(array: npt.NDArray[Any], digits: int) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
    """Seconds (n,) of numbers such as 20230131, and which of them are dates."""
    inside = _in_years(array, digits)
    numbers = np.where(inside, array, 0).astype(np.int64)
    seconds, valid = _read_calendar(numbers, digits)
    return seconds, valid & inside & (numbers == array)


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


def is_number(text: str) -> bool:
    """True for a text that is read as a number; others are dates, or no times."""
    return _NUMBER.fullmatch(text) is not None


def _of_texts(texts: list[str]) -> Read:
    numeric = np.array([is_number(text) for text in texts], dtype=bool)
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
