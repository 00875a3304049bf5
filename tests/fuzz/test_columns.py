"""Columns of odd cells: read, or refused in one line that names a row; never changed in silence.

Two thousand frames:  SIF_FUZZ_TRIALS=2000 pytest tests/fuzz/test_columns.py
"""

from __future__ import annotations

import datetime
import math
import re
import time
import uuid
import warnings
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from sif.data.interactions import Vocabulary, read_frame
from sif.data.interactions.ids import id_string
from sif.data.interactions.ratings import ratings_of
from sif.data.interactions.times import seconds_of
from sif.errors import SifError

LONGEST = 300
USUAL: tuple[tuple[Any, ...], ...] = (
    (1, 2, 30, -4, 2**31, 2**53, 2**63 - 1),
    (1.0, 2.0, 0.5, -7.0, 1e9),
    ("a", "b", " c ", "007", "1.0", "ü", "12"),
    (1_700_000_000, 1_700_000_001),
    (1_700_000_000_000, 1_700_000_000_123),
    (20230131, 20230201),
    ("2023-01-31", "2023-01-31 12:00:00 UTC", "2023-01-31T12:00:00+02:00"),
    (pd.Timestamp("2023-01-31"), pd.Timestamp("2023-02-01")),
    (True, False),
)
ODD: tuple[Any, ...] = (
    None, math.nan, math.inf, -math.inf, pd.NA, pd.NaT, "", " ", "\t", "nan", "NA", "a\0", "\ud800",
    "x" * 600, "9" * 30, "9" * 5000, "1e400", "1e+16", "1e+300", "1.0", "-0.0", 2**63, -(2**63) - 1,
    10**5000, 1e300, 2.0**60, 1j, [1], (1, 2), {"a": 1}, {1}, b"a", b"\xff", bytearray(b"7"), True,
    Decimal("1E+999999"), Decimal("0.5"), Decimal("NaN"), Fraction(1, 3), np.float32(0.1),
    np.uint64(2**64 - 1), np.datetime64("2023-01-31"), np.datetime64("NaT"), np.array(5),
    np.array([1, 2]), torch.tensor(3), torch.tensor([1, 2]), pa.scalar(4), pa.scalar(None),
    datetime.date(9999, 12, 31), datetime.datetime(1, 1, 1), datetime.time(1), pd.Timedelta(5),
    pd.Period("2023-01"), pd.Interval(0, 1), uuid.UUID(int=5), object(), int, "31/01/2023", "now",
    "12:30", "0000-00-00", "2023-02-30", "+05", "1_000", "1,5", "1,234", "0x10", "true", "٣",
)  # fmt: skip
TYPES = (
    "object", "object", "object", "category", "string", "Int64", "Float64", "float64", "float32",
    "uint64", "int64[pyarrow]", "string[pyarrow]", "bool", "boolean", "datetime64[s]", "binary",
)  # fmt: skip


def column(rng: np.random.Generator, n: int) -> pd.Series:
    """Cells of one usual kind with a few odd ones, of a type that takes them."""
    usual = USUAL[int(rng.integers(len(USUAL)))]
    cells = [usual[int(rng.integers(len(usual)))] for _ in range(n)]
    for _ in range(int(rng.choice([0, 1, 1, 3]))):
        cells[int(rng.integers(n))] = ODD[int(rng.integers(len(ODD)))]
    series = pd.Series(index=range(n), dtype=object)
    for row, cell in enumerate(cells):
        series.iat[row] = cell
    name = TYPES[int(rng.integers(len(TYPES)))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return series.astype(pd.ArrowDtype(pa.binary()) if name == "binary" else name)
    except Exception:  # pandas has no such column, or itself refuses the cells
        return series


def test_odd_columns_are_read_or_refused_in_one_line(trials: int) -> None:
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 12))
        names = ("user", "item", "rating", "timestamp")
        frame = pd.DataFrame({name: column(rng, n) for name in names})
        refused(f"seed {seed}", read_frame, frame)
        for name, read in (
            ("user", Vocabulary.from_values), ("rating", ratings_of), ("timestamp", seconds_of),
        ):  # fmt: skip
            refused(f"seed {seed}", read, frame[name])


def test_an_odd_id_is_the_same_in_a_column_and_alone(trials: int) -> None:
    for seed, cell in enumerate(ODD[:: max(1, len(ODD) // trials)]):
        cells = pd.Series(["other", None], dtype=object)
        cells.iat[1] = cell
        alone: list[str] = []
        refused(f"cell {seed}", lambda value, told=alone: told.append(id_string(value)), cell)
        try:
            vocabulary, codes = Vocabulary.from_values(cells)
        except SifError:
            assert not alone, cell
        else:
            assert vocabulary.ids[codes].tolist() == ["other", *alone], cell


def refused(trial: str, read: Any, given: Any) -> None:
    """Reads something; what is wrong with it is one line, at once, with its row."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read(given)
    except SifError as error:
        assert "\n" not in str(error), (trial, str(error))
        assert len(str(error)) <= LONGEST, (trial, str(error))
        if isinstance(given, pd.DataFrame | pd.Series):
            assert re.search(r"row \d+:", str(error)), (trial, str(error))
    except Exception as error:  # whatever it is, the trial is named
        raise AssertionError(f"{trial}: {type(error).__name__}: {error}") from error
    assert time.perf_counter() - start < 5, trial
