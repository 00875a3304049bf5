"""Recommendations for many users as rows of text or as a file, some users at a time."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sif.adapters.rectools import RECOMMENDATIONS, reco_frame
from sif.data.databases.opened import database_of
from sif.data.interactions.ids import id_strings
from sif.data.interactions.readers import Columns, refuse_twice
from sif.data.interactions.table_files import IsHeader, Table, open_table, parquet_library
from sif.errors import DataError, EntryError
from sif.recommender.many import MEMORY, Blocks, recommend_many
from sif.recommender.recommender import Recommender
from sif.utils.addresses import Address, entered, is_address, split_table

Row = tuple[str, int, str, float, str]
USUAL = Columns()
"""The columns by their usual names."""
NAMES = ("user", "rank", "item", "score", "title")
_TYPES = ("string", "int32", "string", "float32", "string")
"""Types of the columns of a Parquet file, as pyarrow calls them."""
_RECTOOLS_TYPES = ("string", "string", "float32", "int32")


@dataclass(frozen=True)
class Form:
    """Columns of a file or table of recommendations.

    Attributes:
        names: Of the columns.
        types: Of these, as pyarrow calls them.
        of: Makes them of the frame of an answer to several users.
    """

    names: tuple[str, ...]
    types: tuple[str, ...]
    of: Callable[[pd.DataFrame], pd.DataFrame]

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Names with types."""
        return list(zip(self.names, self.types, strict=True))


def _own(frame: pd.DataFrame) -> pd.DataFrame:
    """An answer with a title in every row."""
    return (frame if "title" in frame else frame.assign(title=""))[list(NAMES)]


OWN = Form(NAMES, _TYPES, _own)
FORMS = {"rectools": Form(RECOMMENDATIONS, _RECTOOLS_TYPES, reco_frame)}
"""Columns of other programs by their names."""


def rows(
    queries: Sequence[str], items: NDArray[np.str_], scores: NDArray[np.float32],
    titles: Mapping[str, str],
) -> Iterator[Row]:  # fmt: skip
    """Rows (asked id, rank from 1, item, score, title) of answers (b, k)."""
    for one, answers, values in zip(queries, items, scores, strict=True):
        for rank, (item, score) in enumerate(zip(answers, values, strict=True), start=1):
            if item:
                yield one, rank, str(item), float(score), titles.get(str(item), "")


def blocks_of(
    model: Recommender, users: Sequence[str], count: int, memory: int | None = None
) -> Blocks:
    """Answers to users, made some at a time; unknown users are refused before the first."""
    return recommend_many(model, list(users), count, memory=MEMORY if memory is None else memory)


def recommendations(model: Recommender, users: Sequence[str], count: int) -> Iterator[list[Row]]:
    """Rows of some users at a time; unknown users are refused before the first."""
    for block in blocks_of(model, users, count):
        yield list(rows(block.users.tolist(), *block.arrays(), model.titles))


def read_ids(path: Path, name: str, columns: Columns = USUAL) -> list[str]:
    """Distinct ids of a file's column, as training reads them, in the order of the file.

    Args:
        path: A file for `open_table`. A single column needs no header: in a text file a first line
            that is no name of the field is an id.
        name: The field, "user" or "item", whose usual column names are recognized.
        columns: Those of the training, which are recognized as well.

    Raises:
        DataError: The file cannot be read, or has no such column.
    """

    def is_header(first: Sequence[str], second: Sequence[str]) -> bool:
        if len(first) == 1:
            return columns.find(name, first) is not None
        return columns.is_header(first, second)

    table = _open(path, is_header, name, columns)
    place = columns.find(name, table.columns)
    if place is None and len(table.columns) != 1:
        raise DataError(
            f"{table.header_place}: expected a column {getattr(columns, name) or name!r} or a "
            f"single one, found {', '.join(table.columns) or 'none'}"
        )
    place = place or 0
    refuse_twice(table, place, name)
    try:
        ids = list(dict.fromkeys(id_strings(table.read({place: "id"})[place]).tolist()))
    except EntryError as error:
        where, _ = table.locate(error.row, place)
        raise DataError(f"{where}: {name}: {error.expected}, found {error.found}") from None
    if not ids:
        raise DataError(f"{path}: expected {name} ids, found none")
    return ids


def _open(path: Path, is_header: IsHeader, name: str, columns: Columns) -> Table:
    """The table of a file, cut by the training's separator if the field's column is found so."""
    if columns.separator is not None:
        with contextlib.suppress(DataError):
            table = open_table(path, is_header, columns.separator)
            if len(table.columns) > 1 and columns.find(name, table.columns) is not None:
                return table
    return open_table(path, is_header)


Write = Callable[[pd.DataFrame], object]


@contextlib.contextmanager
def _csv(path: Path, form: Form) -> Iterator[Write]:
    """Appends frames to a text file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        pd.DataFrame(columns=list(form.names)).to_csv(file, index=False)
        yield partial(
            pd.DataFrame.to_csv, path_or_buf=file, index=False, header=False, float_format="%.6g"
        )


@contextlib.contextmanager
def _parquet(path: Path, form: Form) -> Iterator[Write]:
    """Appends frames to a Parquet file, a row group each."""
    arrow, parquet = parquet_library(path)
    schema = arrow.schema([(name, getattr(arrow, kind)()) for name, kind in form.columns])
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
    model: Recommender, users: Sequence[str], count: int, output: str | Path, show: bool = False,
    replace: bool = False, memory: int | None = None, form: Form = OWN,
) -> None:  # fmt: skip
    """Writes rows as CSV, or Parquet by the name's ending, or into a table of a database.

    A file appears when it is complete, and takes the place of one that is there. A table gets its
    rows in one transaction.

    Args:
        model: Recommends.
        users: Ids.
        count: Items per user.
        output: Ends in .csv or .parquet; or the address of a database with a table behind it.
        show: Whether standard error says what is to come, and how far it is: on a bar, where tqdm
            is installed.
        replace: Whether the rows of a table that is there are replaced; otherwise it is refused.
        memory: Bytes that answers may take at a time; None: `sif.recommender.many.MEMORY`.
        form: Columns of the rows.

    Raises:
        DataError: Another ending, a folder that is not there, Parquet without pyarrow, or a table
            that is there or cannot be written.
        ConfigError: An address without a table, or less memory than a user takes.
    """
    opened = _open_output(str(output), replace, form)
    blocks = blocks_of(model, users, count, memory)
    if show:
        print(blocks, file=sys.stderr)
    with opened as write, _progress(len(users), show) as done:
        for block in blocks:
            write(form.of(block.frame()))
            done(len(block.users))


def _open_output(
    output: str, replace: bool, form: Form
) -> contextlib.AbstractContextManager[Write]:  # fmt: skip
    """Appends frames to a file or a table; all appears, or nothing."""
    if is_address(output):
        address, table = split_table(output)
        database = database_of(Address.parse(entered(address)))
        return database.appending(table, form.columns, replace)
    return _whole_file(Path(output), form)


@contextlib.contextmanager
def _whole_file(path: Path, form: Form) -> Iterator[Write]:
    """Appends frames to a file that appears when it is complete."""
    writer = _WRITERS.get(path.suffix)
    if writer is None or not path.parent.is_dir():
        raise DataError(f"{path}: expected a name that ends in .csv or .parquet in a folder")
    if writer is _parquet:
        parquet_library(path)  # so that its message names the file that was asked for
    part = path.with_name(f".{path.name}.part")
    try:
        with writer(part, form) as write:
            yield write
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
