"""Several files as one source: a folder, or a data set whose folders name values (year=2024)."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sif.data.interactions.file_kinds import PARQUET, first_bytes
from sif.data.streamed.source import Mark, Piece, RecordSource
from sif.errors import DataError
from sif.utils.digest import digest
from sif.utils.paths import check_name

Constants = tuple[tuple[str, str], ...]
Open = Callable[[Path, Constants], RecordSource]
_PARQUET = (".parquet", ".pq")
_TEXT = (".csv", ".tsv", ".txt", ".inter")
_PACKED = (".gz", ".bz2", ".xz", ".zst")
_TOLD = 12  # columns listed in a message
_NOTHING = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class FolderSource:
    """Implements `RecordSource`; a mark is the number of a file and a mark in it.

    Attributes:
        path: The folder.
        files: In the order of their paths.
    """

    path: Path
    files: tuple[RecordSource, ...]

    @classmethod
    def open(cls, path: Path, open_file: Open) -> FolderSource:
        """Opens every data file below a folder.

        Args:
            path: The folder; names that begin with "." or "_" are passed over.
            open_file: Opens a file, with the columns that its folders name.

        Raises:
            DataError: The folder or a file cannot be read, or there are no data files.
        """
        files = []
        for file in _data_files(path):
            files.append(open_file(file, _constants(file.relative_to(path).parent)))
        return cls(path, tuple(files))

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def header_place(self) -> str:
        """Of the first file."""
        return self.files[0].header_place

    @property
    def schema(self) -> Any:
        """Of the first file, and of all others."""
        return self.files[0].schema

    @property
    def rows(self) -> int | None:
        """Of all files."""
        return _sum(file.rows for file in self.files)

    @property
    def size(self) -> int | None:
        """Of all files."""
        return _sum(file.size for file in self.files)

    @property
    def notes(self) -> tuple[str, ...]:
        """Of the first file."""
        return self.files[0].notes

    def fingerprint(self) -> str:
        """Of all files."""
        return digest([], *(file.fingerprint() for file in self.files))

    def with_numbers(self, columns: Collection[int]) -> FolderSource:
        """Implements `RecordSource.with_numbers`."""
        files = (f.with_numbers(places_in(self.files[0], f, columns)) for f in self.files)
        return replace(self, files=tuple(files))

    def pieces(self, columns: Sequence[int], mark: Mark = None) -> Iterator[Piece]:
        """Implements `RecordSource.pieces`; columns of other files are found by their names."""
        places = [places_in(self.files[0], file, columns) for file in self.files]
        first, within = mark or (0, None)
        for number, file in enumerate(self.files[first:], start=first):
            for piece in file.pieces(places[number], within):
                yield replace(piece, mark=[number, piece.mark])
            within = None

    def locate(self, row: int, column: int) -> tuple[str, str]:
        """Implements `RecordSource.locate`; files of unknown length are counted."""
        for file in self.files:
            rows = file.rows
            if rows is None:
                rows = sum(len(piece.batch) for piece in file.pieces([column]))
            if row < rows:
                return file.locate(row, places_in(self.files[0], file, [column])[0])
            row -= rows
        return self.name, ""


def _sum(numbers: Iterator[int | None]) -> int | None:
    total = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total


def _data_files(path: Path) -> list[Path]:
    """The files of one kind below a folder, by path."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}")

    found: list[Path] = []
    seen: set[str] = set()
    for folder, below, names in os.walk(path, onerror=refuse, followlinks=True):
        target = os.path.realpath(folder)
        if target in seen:
            raise DataError(f"{folder}: expected each folder once, found a link to one of them")
        seen.add(target)
        below[:] = sorted(name for name in below if not name.startswith((".", "_")))
        found += [Path(folder, name) for name in names if not name.startswith((".", "_"))]
    found.sort()
    for file in found:
        check_name(file)
    for endings in (_PARQUET, _TEXT):
        some = [file for file in found if _ending(file) in endings]
        if some:
            return some
    some = [file for file in found if first_bytes(file).startswith(PARQUET)]
    if not some:
        told = f"{found[0].relative_to(path)}" if found else "no file"
        raise DataError(f"{path}: expected a folder of Parquet or text files, found {told}")
    return some


def _ending(file: Path) -> str:
    last = file.suffix.lower()
    return Path(file.stem).suffix.lower() if last in _PACKED else last


def _constants(folder: Path) -> Constants:
    """Columns and their texts, as the names of folders tell them."""
    pairs = (part.partition("=") for part in folder.parts if "=" in part)
    return tuple((name, "" if text == _NOTHING else unquote(text)) for name, _, text in pairs)


def places_in(first: RecordSource, other: RecordSource, columns: Collection[int]) -> list[int]:
    """Positions in another file of columns of the first.

    Raises:
        DataError: A column is not there, or of another type.
    """
    places = []
    for name, kind in ((first.schema.names[c], first.schema.types[c]) for c in columns):
        if name not in other.schema.names:
            found = ", ".join(map(repr, other.schema.names[:_TOLD]))
            raise DataError(
                f"{other.name}: expected a column {name!r} as in {first.name}, found {found}"
            )
        places.append(other.schema.names.index(name))
        found = other.schema.types[places[-1]]
        if _of_values(found) != _of_values(kind):
            raise DataError(
                f"{other.name}: column {name!r}: expected {kind} as in {first.name}, found {found}"
            )
    return places


def _of_values(kind: Any) -> Any:
    """The type of the values, whether they stand in a dictionary or not."""
    return kind.value_type if str(kind).startswith("dictionary") else kind
