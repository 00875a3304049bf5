"""Recommendations for many users as rows of text or as a file, some users at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from sif.data.tables import open_table
from sif.errors import DataError
from sif.recommender import SIFRecommender

Row = tuple[str, int, str, float, str]
CHUNK = 4096
"""Users answered at a time."""
NAMES = ("user", "rank", "item", "score", "title")
_TYPES = (pa.string(), pa.int32(), pa.string(), pa.float32(), pa.string())
SCHEMA = pa.schema(list(zip(NAMES, _TYPES, strict=True)))


def rows(
    asked: Sequence[str], items: NDArray[np.str_], scores: NDArray[np.float32],
    titles: Mapping[str, str],
) -> Iterator[Row]:  # fmt: skip
    """Rows (asked id, rank from 1, item, score, title) of answers (b, k)."""
    for one, answers, values in zip(asked, items, scores, strict=True):
        for rank, (item, score) in enumerate(zip(answers, values, strict=True), start=1):
            if item:
                yield one, rank, str(item), float(score), titles.get(str(item), "")


def recommendations(model: SIFRecommender, users: Sequence[str], count: int) -> Iterator[list[Row]]:
    """Rows of some users at a time; unknown users are refused before the first."""
    if model.unknown == "error":
        model.model_.vocabularies[0].index(users, "user")
    for start in range(0, len(users), CHUNK):
        some = users[start : start + CHUNK]
        yield list(rows(some, *model.recommend(some, count), model.titles))


def read_ids(path: Path, name: str) -> list[str]:
    """Distinct ids of a file's column of that name, or of its only column.

    Raises:
        DataError: The file cannot be read, or has no such column.
    """
    table = open_table(path)
    columns = [c.split(":")[0].strip().lower() for c in table.columns]
    place = columns.index(name) if name in columns else 0
    if name not in columns and len(columns) > 1:
        raise DataError(
            f"{table.header_place}: expected a column {name!r} or a single one, found "
            f"{', '.join(table.columns)}"
        )
    cells = table.read({place: "id"})[place]
    if len(cells) == 0 or cells.isna().any():
        found = "an empty one" if len(cells) else "none"
        raise DataError(f"{path}: expected {name} ids, found {found}")
    return list(dict.fromkeys(cells.astype(str)))


class _CSV:
    """Appends frames to a text file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._first = True

    def write(self, frame: pd.DataFrame) -> None:
        """Adds rows."""
        frame.to_csv(self._file, index=False, header=self._first, float_format="%.6g")
        self._first = False

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


class _Parquet:
    """Appends frames to a Parquet file, a row group each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def write(self, frame: pd.DataFrame) -> None:
        """Adds rows."""
        table = pa.Table.from_pandas(frame, SCHEMA, preserve_index=False)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, SCHEMA)
        self._writer.write_table(table)

    def close(self) -> None:
        """Ends the file."""
        if self._writer is not None:
            self._writer.close()


def write_recommendations(
    model: SIFRecommender, users: Sequence[str], count: int, path: Path, show: bool = False
) -> None:
    """Writes rows as CSV, or Parquet by the name's ending; the file appears when it is complete.

    Args:
        model: Recommends.
        users: Ids.
        count: Items per user.
        path: Ends in .csv or .parquet.
        show: Whether a progress bar is shown where tqdm is installed.

    Raises:
        DataError: Another ending, or a folder that is not there.
    """
    writers: dict[str, type[_CSV] | type[_Parquet]] = {".csv": _CSV, ".parquet": _Parquet}
    writer = writers.get(path.suffix)
    if writer is None or not path.parent.is_dir():
        raise DataError(f"{path}: expected a name that ends in .csv or .parquet in a folder")
    part = path.with_name(f".{path.name}.part")
    bar = tqdm(total=len(users), unit=" users", disable=not show)
    try:
        with contextlib.closing(writer(part)) as out, bar:
            for found in recommendations(model, users, count):
                out.write(pd.DataFrame(found, columns=list(NAMES)))
                bar.update(min(CHUNK, len(users) - bar.n))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
