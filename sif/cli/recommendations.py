"""Recommendations for many users as rows of text or as a file, some users at a time."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sif.data.interactions.ids import id_strings
from sif.data.interactions.readers import usual_places
from sif.data.interactions.table_files import TextTable, open_table, parquet_library
from sif.data.interactions.text_records import records, sniff
from sif.errors import CellError, DataError
from sif.recommender.recommender import Recommender

Row = tuple[str, int, str, float, str]
CHUNK = 4096
"""Users answered at a time."""
NAMES = ("user", "rank", "item", "score", "title")
_TYPES = ("string", "int32", "string", "float32", "string")
"""Types of the columns of a Parquet file, as pyarrow calls them."""


def rows(
    queries: Sequence[str], items: NDArray[np.str_], scores: NDArray[np.float32],
    titles: Mapping[str, str],
) -> Iterator[Row]:  # fmt: skip
    """Rows (asked id, rank from 1, item, score, title) of answers (b, k)."""
    for one, answers, values in zip(queries, items, scores, strict=True):
        for rank, (item, score) in enumerate(zip(answers, values, strict=True), start=1):
            if item:
                yield one, rank, str(item), float(score), titles.get(str(item), "")


def recommendations(model: Recommender, users: Sequence[str], count: int) -> Iterator[list[Row]]:
    """Rows of some users at a time; unknown users are refused before the first."""
    if model.unknown == "error":
        model.model_.vocabularies[0].index(users, "user")
    for start in range(0, len(users), CHUNK):
        some = users[start : start + CHUNK]
        ids, scores = model.recommend(some, count, as_arrays=True)
        yield list(rows(some, ids, scores, model.titles))


def read_ids(path: Path, name: str, named: str | None = None) -> list[str]:
    """Distinct ids of a file's column, as training reads them, in the order of the file.

    Args:
        path: A file for `open_table`. A single column needs no header: in a text file a first line
            that is no usual name of the field is an id.
        name: The field, "user" or "item", whose usual column names are recognized.
        named: Name of its column in the training, where one was given; counts first.

    Raises:
        DataError: The file cannot be read, or has no such column.
    """
    table = _headerless(path, name, named) or open_table(path)
    place = _recognized(table.columns, name, named)
    if place is None and len(table.columns) > 1:
        raise DataError(
            f"{table.header_place}: expected a column {name!r} or a single one, found "
            f"{', '.join(table.columns)}"
        )
    place = place or 0
    try:
        ids = list(dict.fromkeys(id_strings(table.read({place: "id"})[place]).tolist()))
    except CellError as error:
        where, _ = table.locate(error.row, place)
        raise DataError(f"{where}: {name}: {error.expected}, found {error.found}") from None
    if not ids:
        raise DataError(f"{path}: expected {name} ids, found none")
    return ids


def _recognized(columns: Sequence[str], name: str, named: str | None) -> int | None:
    """Position of a field's column by the name of the training, else by its usual names."""
    if named is not None and named in columns:
        return list(columns).index(named)
    return next(iter(usual_places(columns, name)), None)


def _headerless(path: Path, name: str, named: str | None) -> TextTable | None:
    """A text file of one column without a header; None: another file."""
    if not path.is_file() or path.suffix.lower() in (".parquet", ".pq"):
        return None
    quoting = csv.QUOTE_NONE if path.suffix.lower() == ".inter" else csv.QUOTE_MINIMAL
    separator = sniff(path, quoting)
    line, first = next(records(path, separator, quoting), (0, []))
    if len(first) != 1 or _recognized(first, name, named) is not None:
        return None
    return TextTable(path, separator, quoting, False, line, (name,))


Write = Callable[[pd.DataFrame], object]


@contextlib.contextmanager
def _csv(path: Path) -> Iterator[Write]:
    """Appends frames to a text file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        pd.DataFrame(columns=list(NAMES)).to_csv(file, index=False)
        yield partial(
            pd.DataFrame.to_csv, path_or_buf=file, index=False, header=False, float_format="%.6g"
        )


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    """Appends frames to a Parquet file, a row group each."""
    arrow, parquet = parquet_library(path)
    types = [getattr(arrow, name)() for name in _TYPES]
    schema = arrow.schema(list(zip(NAMES, types, strict=True)))
    with parquet.ParquetWriter(path, schema) as writer:
        yield lambda frame: writer.write_table(
            arrow.Table.from_pandas(frame, schema, preserve_index=False)
        )


_WRITERS = {".csv": _csv, ".parquet": _parquet}


@contextlib.contextmanager
def _progress(total: int, show: bool) -> Iterator[Callable[[int], object]]:
    """Yields a function that counts finished users: on a bar, if tqdm is installed."""
    if not show or importlib.util.find_spec("tqdm") is None:
        yield lambda more: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=" users") as bar:
        yield bar.update


def write_recommendations(
    model: Recommender, users: Sequence[str], count: int, path: Path, show: bool = False
) -> None:
    """Writes rows as CSV, or Parquet by the name's ending; the file appears when it is complete.

    Args:
        model: Recommends.
        users: Ids.
        count: Items per user.
        path: Ends in .csv or .parquet.
        show: Whether a progress bar is shown where tqdm is installed.

    Raises:
        DataError: Another ending, a folder that is not there, or Parquet without pyarrow.
    """
    writer = _WRITERS.get(path.suffix)
    if writer is None or not path.parent.is_dir():
        raise DataError(f"{path}: expected a name that ends in .csv or .parquet in a folder")
    if writer is _parquet:
        parquet_library(path)  # so that its message names the file that was asked for
    part = path.with_name(f".{path.name}.part")
    starts = range(0, len(users), CHUNK)
    try:
        with writer(part) as write, _progress(len(users), show) as done:
            for start, rows in zip(starts, recommendations(model, users, count), strict=True):
                write(pd.DataFrame(rows, columns=list(NAMES)))
                done(len(users[start : start + CHUNK]))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
