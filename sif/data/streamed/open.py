"""Paths as sources, and which of them are read by pieces unless a setting says so."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from sif.data.interactions.file_kinds import FEATHER, PARQUET, first_bytes, is_packed
from sif.data.interactions.movielens import find_layout
from sif.data.interactions.npz_files import is_npz
from sif.data.interactions.readers import Columns
from sif.data.interactions.table_files import TextTable, open_table
from sif.data.streamed.folder_source import Constants, FolderSource
from sif.data.streamed.parquet_source import ParquetSource
from sif.data.streamed.source import RecordSource
from sif.data.streamed.text_source import TextSource
from sif.errors import DataError
from sif.utils.paths import exists

LARGE = {"parquet": 1 << 26, "packed": 1 << 27, "text": 1 << 29}
"""Bytes of a file from which it is read by pieces: some ten million rows."""


def open_source(path: Path, columns: Columns) -> RecordSource:
    """A file or a folder of files as a source.

    Args:
        path: Parquet or text, as it is or packed; or a folder of such files, also below folders
            that name values (year=2024).
        columns: Recognize a header, and name the separator of texts.

    Raises:
        DataError: Nothing is there, or nothing of these kinds.
    """

    def open_file(file: Path, constants: Constants = ()) -> RecordSource:
        if _is_parquet(file):
            return ParquetSource.open(file, constants)
        table = open_table(file, columns.is_header, columns.separator)
        if not isinstance(table, TextTable):
            raise _refused(file)
        return TextSource(table)

    if not exists(path):
        raise DataError(f"{path}: expected a file or a folder, found nothing")
    if path.is_dir():
        return FolderSource.open(path, open_file)
    if is_npz(path):
        raise _refused(path)
    return open_file(path)


def is_streamed(path: Path) -> bool:
    """True for folders of data files, and for files that are large; False without pyarrow."""
    if not exists(path) or importlib.util.find_spec("pyarrow") is None:
        return False
    if path.is_dir():
        return find_layout(path) is None
    size = path.stat().st_size if path.is_file() else 0
    if size < min(LARGE.values()) or is_npz(path) or first_bytes(path).startswith(FEATHER):
        return False
    kind = "parquet" if _is_parquet(path) else "packed" if is_packed(path) else "text"
    return size >= LARGE[kind]


def _is_parquet(path: Path) -> bool:
    return path.is_file() and (
        path.suffix.lower() in (".parquet", ".pq") or first_bytes(path).startswith(PARQUET)
    )


def _refused(path: Path) -> DataError:
    return DataError(
        f"{path}: data.stream: expected Parquet, text or a folder of them, found another kind"
    )
