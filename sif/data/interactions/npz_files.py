"""Interactions as an npz: numbers of users and items, and if known more about the rows and the ids.

It holds `user`, `item`, and perhaps `part` (0 train, 1 valid, 2 test), `rating`, `timestamp`, the
original ids `user_ids`, `item_ids`, and context fields likewise.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sif.data.interactions.columns import INT64, Int64Array
from sif.data.interactions.interactions import Interactions
from sif.data.interactions.ratings import ratings_of
from sif.data.interactions.times import seconds_of
from sif.data.interactions.vocabulary import Vocabulary
from sif.data.reading import reading
from sif.errors import DataError, EntryError
from sif.utils.paths import exists

PART = "part"
_MOST_PACKED = 1032  # bytes that zip makes of one


def is_npz(path: Path) -> bool:
    """True for a zip of nothing but arrays, whatever its name."""
    if not (exists(path) and path.is_file() and zipfile.is_zipfile(path)):
        return False
    try:
        with reading(path, "a zip"), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except DataError:  # which the reader of tables tells
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def read_npz(path: Path, context: Sequence[str] = (), without: Sequence[str] = ()) -> Interactions:
    """All rows of an npz, of whatever part.

    Args:
        path: The file.
        context: Further arrays to read as fields.
        without: "rating" or "timestamp", not to be read.

    Raises:
        DataError: An array is missing, or holds a value that cannot be used.
    """
    return _rows(_Npz.read(path, ("user", "item", *context), ("user", "item"), without))


def read_npz_parts(path: Path, context: Sequence[str] = ()) -> tuple[Interactions, Int64Array]:
    """All rows of an npz, and the part (n,) of each; arguments and errors as in `read_npz`."""
    npz = _Npz.read(path, ("user", "item", *context), ("user", "item", PART))
    return _rows(npz), npz.integers(PART)


def has_parts(path: Path) -> bool:
    """True for an npz that holds a split: rows of more parts than one.

    Nothing but the parts is read; of a file that cannot be read whoever reads all of it tells.
    """
    if not is_npz(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive, reading(path, "an npz"):
            return f"{PART}.npy" in archive.namelist() and bool(_load(archive, PART).any())
    except DataError:
        return True


def _rows(npz: _Npz) -> Interactions:
    columns, vocabularies = [], []
    for name in npz.fields:
        if name not in npz.arrays:
            found = ", ".join(npz.names)
            raise DataError(f"{npz.path}: data.context: expected an array {name!r}, found {found}")
        codes = npz.integers(name)
        if f"{name}_ids" in npz.arrays:
            vocabulary = npz.vocabulary(f"{name}_ids")
            known = (codes >= 0) & (codes < len(vocabulary))
            npz.refuse(codes, known, f"{name}: expected a number in 0..{len(vocabulary) - 1}")
        else:
            vocabulary, codes = Vocabulary.from_values(codes)
        columns.append(codes)
        vocabularies.append(vocabulary)
    times, notes = npz.times()
    return Interactions(
        ids=np.stack(columns, axis=1),
        fields=npz.fields,
        vocabularies=tuple(vocabularies),
        rating=npz.ratings() if "rating" in npz.arrays else None,
        timestamp=times,
        notes=notes,
    )


def _load(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """One plain array, whose header is held against the bytes that are there before it is made.

    Raises:
        ValueError: It has Python objects, or claims another size than it has.
    """
    member = archive.getinfo(f"{name}.npy")
    # The size that a zip tells may be any number.
    if member.file_size > _MOST_PACKED * (member.compress_size + 1):
        raise ValueError(f"{member.file_size:,} bytes packed in {member.compress_size:,}")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        reads = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            reads = np.lib.format.read_array_header_2_0
        shape, _, dtype = reads(stream)
        if dtype.hasobject:
            raise ValueError("Python objects")
        if dtype.kind in "cV":
            raise ValueError(f"values of type {dtype}")
        claimed, actual = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
        if claimed != actual:
            raise ValueError(f"{actual:,} bytes for shape {shape} of {dtype}")
    with archive.open(member) as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


@dataclass(frozen=True, eq=False)
class _Npz:
    """The arrays of a file, checked on access.

    Attributes:
        path: The file.
        fields: Names of the fields, user and item first.
        names: Of all arrays in it.
        arrays: Those that are read.
        n: Interactions.
    """

    path: Path
    fields: tuple[str, ...]
    names: tuple[str, ...]
    arrays: dict[str, npt.NDArray[Any]]
    n: int

    @classmethod
    def read(
        cls, path: Path, fields: Sequence[str], needed: Sequence[str], without: Sequence[str] = ()
    ) -> _Npz:
        """Reads the needed arrays, of which the last has a row for each interaction, and others."""
        if not (exists(path) and path.is_file()):
            raise DataError(f"{path}: expected a split file or folder, found neither")
        if path.stat().st_size == 0:
            raise DataError(f"{path}: expected an npz, found an empty file")
        if not zipfile.is_zipfile(path):
            raise DataError(
                f"{path}: expected an npz (or a folder with train, valid and test), found another"
                " kind"
            )
        more = [name for name in ("rating", "timestamp") if name not in without]
        wanted = (*reversed(needed), *fields[2:], *more, *(f"{name}_ids" for name in fields))
        with reading(path, "an npz"), zipfile.ZipFile(path) as archive:
            names = tuple(name.removesuffix(".npy") for name in archive.namelist())
            if missing := [name for name in needed if name not in names]:
                found = ", ".join(names) or "none"
                told = f"expected arrays {', '.join(needed[:-1])} and {needed[-1]}"
                raise DataError(f"{path}: {told}, found {found}, without {', '.join(missing)}")
            arrays = {}
            for name in [name for name in wanted if name in names]:
                with reading(f"{path}: {name}", "a plain array"):
                    arrays[name] = _load(archive, name)
        shape = arrays[needed[-1]].shape
        if len(shape) != 1:
            raise DataError(f"{path}: {needed[-1]}: expected one dimension, found shape {shape}")
        return cls(path, tuple(fields), names, arrays, shape[0])

    def integers(self, name: str) -> Int64Array:
        """An array (n,) of whole numbers."""
        values = self._integers(name)
        if values.dtype.kind == "f":
            whole = (np.abs(values) < 2.0**63) & (values == np.floor(values))
            self.refuse(values, whole, f"{name}: expected an integer")
        self.refuse(values, values <= INT64.max, f"{name}: expected an integer in int64")
        return values.astype(np.int64)

    def ratings(self) -> npt.NDArray[np.float32]:
        """The ratings (n,)."""
        values = self._column("rating")
        if values.dtype.kind == "f":
            self.refuse(values, np.isfinite(values), "rating: expected a finite number")
        with self._named("rating"):
            return ratings_of(values)

    def times(self) -> tuple[Int64Array | None, tuple[str, ...]]:
        """The times (n,) or None, and a note on how they were read."""
        if "timestamp" not in self.arrays:
            return None, ()
        with self._named("timestamp"):
            seconds, read_as = seconds_of(self._column("timestamp"))
        note = f"{self.path}: timestamp: numbers read as {read_as}"
        return seconds, (note,) if read_as else ()

    def vocabulary(self, name: str) -> Vocabulary:
        """The ids of a field."""
        values = self.arrays[name]
        if values.ndim != 1:
            raise DataError(
                f"{self.path}: {name}: expected one dimension, found shape {values.shape}"
            )
        if values.dtype.kind not in "iufSU":
            raise DataError(f"{self.path}: {name}: expected ids, found {values.dtype}")
        if values.dtype.kind in "SU":
            with reading(f"{self.path}: {name}", "texts"):
                is_text = values.dtype.kind == "U"
                np.char.encode(values, "utf-8") if is_text else np.char.decode(values, "utf-8")
        try:
            return Vocabulary(values)
        except DataError as error:
            raise DataError(f"{self.path}: {name}: {error}") from None

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        try:
            yield
        except EntryError as error:
            where = f"{self.path} row {error.row + 1}: {name}"
            raise DataError(f"{where}: {error.expected}, found {error.found}") from None

    def _column(self, name: str) -> npt.NDArray[Any]:
        values = self.arrays[name]
        if values.shape != (self.n,):
            expected = f"{name}: expected shape ({self.n},)"
            raise DataError(f"{self.path}: {expected}, found {values.shape}")
        return values

    def _integers(self, name: str) -> npt.NDArray[Any]:
        values = self._column(name)
        if values.dtype.kind not in "iuf":
            raise DataError(f"{self.path}: {name}: expected integers, found {values.dtype}")
        return values

    def refuse(self, values: npt.NDArray[Any], good: npt.NDArray[np.bool_], expected: str) -> None:
        """Raises for the first bad row."""
        if not good.all():
            row = int(np.argmin(good))
            raise DataError(f"{self.path} row {row + 1}: {expected}, found {values[row]}")
