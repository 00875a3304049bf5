from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sif.data.interactions import Columns, load_split_file, read_frame, read_interactions
from sif.data.interactions.load import load_dataset
from sif.data.interactions.times import UNITS, seconds_of
from sif.errors import DataError, EntryError

SECONDS = st.lists(st.integers(10**8, 4 * 10**9), min_size=1, max_size=8)  # 1973 to 2096


def moments(values: list[int]) -> list[datetime]:
    return [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value) for value in values]


@given(SECONDS)
def test_times_of_any_type_are_the_same_seconds(values: list[int]) -> None:
    stamps = pd.Series(pd.to_datetime(values, unit="s"))
    aware = moments(values)
    elsewhere = [time.astimezone(timezone(timedelta(hours=5, minutes=30))) for time in aware]
    forms: list[Any] = [
        stamps, stamps.astype("M8[s]"), stamps.dt.tz_localize("UTC"), stamps.to_numpy(),
        stamps.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin"), aware, elsewhere,
        stamps.astype("category"), stamps.astype(object), list(stamps.to_numpy("M8[us]")),
        stamps.dt.to_period("s"), pa.array(aware, pa.timestamp("ms", "UTC")),
        pa.array([time.replace(tzinfo=None) for time in aware], pa.timestamp("ns")),
        pd.Series(pa.array(aware, pa.timestamp("us", "UTC")), dtype="timestamp[us, UTC][pyarrow]"),
        [f"{time:%Y-%m-%d %H:%M:%S} UTC" for time in aware],
        [f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in aware],
        [f"{time:%Y-%m-%d %H:%M:%S}" for time in aware],
        [f" {time:%Y-%m-%d %H:%M:%S GMT} " for time in aware],
        [f"{time:%Y-%m-%d %H:%M:%S %z}" for time in elsewhere],
        [time.isoformat() for time in elsewhere],
        pd.Categorical([f"{time:%Y/%m/%d %H:%M:%S}" for time in aware]),
    ]  # fmt: skip
    for form in forms:
        seconds, note = seconds_of(form)
        assert seconds.dtype == np.int64 and note is None
        assert seconds.tolist() == values, form


@given(SECONDS, st.integers(0, 3), st.sampled_from(["int64", "float64", "Int64", "texts", "list"]))
def test_the_size_of_numbers_tells_their_unit(values: list[int], unit: int, form: str) -> None:
    numbers = [value * 1000**unit for value in values]
    column: Any = numbers
    if form == "texts":
        column = [str(number) for number in numbers]
    elif form != "list":
        column = pd.Series(numbers).astype(form)
    seconds, note = seconds_of(column)
    assert seconds.tolist() == values
    assert note == (f"{UNITS[unit]} since 1970" if unit else None)


def test_fractions_are_dropped_towards_the_past_and_small_numbers_are_seconds() -> None:
    assert seconds_of([5.9, -5.1, 0])[0].tolist() == [5, -6, 0]
    assert seconds_of([1, 20, 300])[0].tolist() == [1, 20, 300]
    assert seconds_of([0, 1_700_000_000_999])[0].tolist() == [0, 1_700_000_000]
    assert seconds_of(["1969-12-31 23:59:59.5"])[0].tolist() == [-1]
    assert seconds_of([np.datetime64("1969-12-31T23:59:59.5")])[0].tolist() == [-1]
    assert seconds_of([])[0].tolist() == []


@pytest.mark.parametrize(
    ("numbers", "row"),
    [
        ([1_700_000_000, 1_700_000_001, 1_700_000_000_000], 3),
        ([1_700_000_000_000, 1_700_000_000, 1_700_000_000_001], 2),
        (["1700000000000000", "1700000000000", "1700000000000001"], 2),
        ([20230101, 20230102, 1_700_000_000], 3),
        ([20230101, 20230102, 20231301], 3),
        ([20230101, 20230230, 20230302], 2),
        (["2020-01-01", "2020-01-02", "1577836800"], 3),
        (["1577836800", "2020-01-02", "1577836801"], 2),
        ([pd.Timestamp(0), pd.Timestamp(1), 5], 3),
    ],
)
def test_a_column_that_contradicts_itself_is_refused(numbers: list[Any], row: int) -> None:
    with pytest.raises(EntryError, match=rf"^row {row}: expected .* as in most rows, found"):
        seconds_of(numbers)


@given(st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2100, 12, 31)), min_size=1, max_size=9))
def test_dates_that_are_written_as_numbers_are_dates(times: list[datetime]) -> None:
    forms = {
        "%Y%m%d": "YYYYMMDD", "%Y%m%d%H": "YYYYMMDDhh", "%Y%m%d%H%M": "YYYYMMDDhhmm",
        "%Y%m%d%H%M%S": "YYYYMMDDhhmmss", "%Y%m": "YYYYMM",
    }  # fmt: skip
    for form, told in forms.items():
        texts = [time.strftime(form) for time in times]
        expected = [
            int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()) for text in texts
        ]
        for column in (texts, [int(text) for text in texts], np.array(texts, np.float64)):
            seconds, note = seconds_of(column)
            assert seconds.tolist() == expected
            assert note == f"dates {told}"


def test_years_beyond_nanoseconds_are_kept(tmp_path: Path) -> None:
    last = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())
    for form in (["9999-12-31"], [date(9999, 12, 31)], np.array(["9999-12-31"], "M8[D]")):
        assert seconds_of(form)[0].tolist() == [last]
    assert seconds_of(["9999-12-31 01:00:00+01:00"])[0].tolist() == [last]
    assert seconds_of(["1500-01-01 UTC"])[0].tolist() == [-14831769600]
    far = pa.array([10**12, 0], pa.timestamp("s"))
    assert seconds_of(far)[0].tolist() == [10**12, 0]
    table = pa.table({"user": ["a", "b"], "item": ["x", "y"], "timestamp": far})
    pq.write_table(table, tmp_path / "far.parquet")
    timestamp = read_interactions(tmp_path / "far.parquet").timestamp
    assert timestamp is not None and timestamp.tolist() == [10**12, 0]
    with pytest.raises(EntryError, match=r"^row 2: .*, found a date out of int64$"):
        seconds_of(np.array([0, 2**62], "M8[D]"))


@pytest.mark.parametrize(
    "value",
    [
        "noon", "now", "today", "2020-13-01", "2020-02-30", "2020-01-31 25:00", "31/01/2020",
        "01/31/2020", "12:30", "2020-01-31 05:00 CET", "", " ", None, pd.NaT, float("nan"),
        "9" * 19, 2**63, 10**400, "9" * 5000, float("inf"), True, [1], 1j, pd.Timedelta(5),
        "٢٠٢٠-01-01", b"\xff",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_by_its_row(value: Any) -> None:
    first = value if isinstance(value, bool) else "2020-01-01"
    number = isinstance(value, int | float) or str(value).isdecimal()
    column = pd.Series([1 if number else first, value], dtype=object)
    with pytest.raises(EntryError, match=r"^row [12]: expected .*, found ") as caught:
        seconds_of(column)
    assert len(str(caught.value)) < 200


def write(path: Path, times: list[Any], name: str = "timestamp") -> Path:
    rows = (f"u{k % 3},i{k},{time}\n" for k, time in enumerate(times))
    path.write_text(f"user,item,{name}\n" + "".join(rows))
    return path


def test_how_numbers_were_read_is_told_once(tmp_path: Path) -> None:
    days = [20230101 + k for k in range(9)]
    path = write(tmp_path / "a.csv", days, "event_time")
    notes = load_dataset(path).notes
    assert notes == [f"{path}: event_time: numbers read as dates YYYYMMDD"]
    data = read_frame(pd.read_csv(path))
    assert data.timestamp is not None
    assert data.timestamp.tolist() == [1672531200 + 86400 * k for k in range(9)]
    assert data.notes == ("data frame: event_time: numbers read as dates YYYYMMDD",)
    assert load_dataset(write(tmp_path / "b.csv", [1672531200 + k for k in range(9)])).notes == []


def test_a_column_of_times_that_cannot_be_read_may_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ["31/01/2020"] * 9, "when")
    told = r'line 2: timestamp: .* \(data\.timestamp="" reads none\), found \'31/01/2020\'$'
    with pytest.raises(DataError, match=told):
        read_interactions(path)
    assert read_interactions(path, Columns(timestamp="")).timestamp is None
    with pytest.raises(DataError, match=r"line 2: timestamp: expected .*, found 'True'$"):
        read_interactions(write(tmp_path / "b.csv", ["True", "False"]))


def test_a_split_file_reads_times_as_a_table_does(tmp_path: Path) -> None:
    pairs = {"user": np.arange(30) // 6, "item": np.arange(30) % 6, "part": np.arange(30) % 3}
    np.savez(tmp_path / "a.npz", **pairs, timestamp=1_700_000_000_000 + np.arange(30) * 1000)
    split = load_split_file(tmp_path / "a.npz")
    timestamp = split.interactions.timestamp
    assert split.notes == (f"{tmp_path}/a.npz: timestamp: numbers read as {UNITS[1]} since 1970",)
    assert timestamp is not None and timestamp.tolist() == [1_700_000_000 + k for k in range(30)]
    np.savez(tmp_path / "a.npz", **pairs, timestamp=np.full(30, np.nan))
    with pytest.raises(DataError, match=r"a\.npz row 1: timestamp: expected .*, found nothing$"):
        load_split_file(tmp_path / "a.npz")
