"""A user's own split (an npz with a part per row, or three files) to a `Split` that keeps it.

The npz holds `user`, `item` (numbers) and `part` (0 train, 1 valid, 2 test), and if known `rating`,
`timestamp`, the original ids `user_ids`, `item_ids`, and context fields likewise. Three files are a
folder with train, valid and test in any readable format, or their paths in this order.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sif.data.interactions.clean import check_usable, describe
from sif.data.interactions.columns import INT64, Int64Array
from sif.data.interactions.interactions import Interactions, concatenate, row_keys
from sif.data.interactions.ratings import ratings_of
from sif.data.interactions.readers import Columns, read_interactions
from sif.data.interactions.split import PART_NAMES, Split, build_split
from sif.data.interactions.times import seconds_of
from sif.data.interactions.vocabulary import Vocabulary
from sif.data.reading import reading
from sif.errors import DataError, EntryError
from sif.utils.paths import exists

_SPELLINGS = {
    "train": ("train", "training", "base"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing"),
}
_MOST_PACKED = 1032  # bytes that zip makes of one
_LEAST = -(2.0**63)  # of int64
Path_ = str | PathLike[str]


def load_split_file(
    path: Path_ | Sequence[Path_],
    titles: Mapping[str, str] | None = None,
    columns: Columns | None = None,
) -> Split:
    """Loads a split that was made elsewhere.

    Args:
        path: An npz, a folder with three files, or the three paths train, valid, test.
        titles: Item id to title, attached to the interactions.
        columns: Roles of columns in the three files; an npz only has the context.

    Returns:
        The split in the rows' order, protocol "file"; vocabularies are shared by the three parts.

    Raises:
        DataError: Something is missing or contradictory, or a pair is in the split twice.
    """
    if isinstance(path, str | PathLike):
        path = Path(path)
        where = str(path)
        if exists(path) and path.is_dir():
            interactions, part = _from_files(_in_folder(path), columns)
        else:
            interactions, part = _from_npz(path, columns.context if columns else ())
    else:
        paths = [Path(p) for p in path]
        where = ", ".join(map(str, paths))
        if len(paths) != 3:
            raise DataError(f"split files: expected train, valid and test, found {where or 'none'}")
        interactions, part = _from_files(paths, columns)
    check_usable(interactions, where)
    if titles:
        interactions = replace(interactions, titles=dict(titles))
    split = build_split(interactions, part, protocol="file", seed=0, where=where)
    _refuse_twice(split, where)
    return replace(split, notes=(*interactions.notes, *split.notes))


def _refuse_twice(split: Split, where: str) -> None:
    keys = row_keys(split.interactions.ids, split.interactions.sizes)
    again = pd.Series(keys).duplicated().to_numpy()
    if again.any():
        second = int(np.argmax(again))
        first = int(np.argmax(keys == keys[second]))
        pair = describe(split.interactions, split.interactions.ids[second])
        raise DataError(
            f"{where}: expected every pair once, found {pair} in"
            f" {PART_NAMES[split.part[first]]} and again in {PART_NAMES[split.part[second]]}"
        )


def _in_folder(folder: Path) -> list[Path]:
    """The three files by a word of their names: train.csv, ml-100k.valid.inter, u1.base."""
    paths = []
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for name, spellings in _SPELLINGS.items():
        fits = [p for p in files if set(p.name.lower().split(".")) & set(spellings)]
        if len(fits) != 1:
            names = ", ".join(p.name for p in fits) or "none"
            raise DataError(f"{folder}: expected one file for {name}, found {names}")
        paths.append(fits[0])
    return paths


def _from_files(paths: Sequence[Path], columns: Columns | None) -> tuple[Interactions, Int64Array]:
    parts = [read_interactions(path, columns) for path in paths]
    part = np.repeat(np.arange(3), [len(each) for each in parts])
    return concatenate(parts), part


def _from_npz(path: Path, context: tuple[str, ...]) -> tuple[Interactions, Int64Array]:
    fields = ("user", "item", *context)
    npz = _Npz.read(path, fields)
    columns, vocabularies = [], []
    for name in fields:
        if name not in npz.arrays:
            raise DataError(
                f"{path}: data.context: expected an array {name!r}, found {', '.join(npz.names)}"
            )
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
    interactions = Interactions(
        ids=np.stack(columns, axis=1),
        fields=fields,
        vocabularies=tuple(vocabularies),
        rating=npz.ratings() if "rating" in npz.arrays else None,
        timestamp=times,
        notes=notes,
    )
    return interactions, npz.integers("part")


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
        names: Of all arrays in it.
        arrays: Those that a split has, `part` (n,) first.
    """

    path: Path
    names: tuple[str, ...]
    arrays: dict[str, npt.NDArray[Any]]

    @classmethod
    def read(cls, path: Path, fields: tuple[str, ...]) -> _Npz:
        """Reads the arrays of fields, of their ids, and the other ones of a split."""
        if not (exists(path) and path.is_file()):
            raise DataError(f"{path}: expected a split file or folder, found neither")
        if path.stat().st_size == 0:
            raise DataError(f"{path}: expected an npz, found an empty file")
        if not zipfile.is_zipfile(path):
            raise DataError(
                f"{path}: expected an npz (or a folder with train, valid and test), found another"
                " kind"
            )
        wanted = ("part", *fields, "rating", "timestamp", *(f"{name}_ids" for name in fields))
        with reading(path, "an npz"), zipfile.ZipFile(path) as archive:
            names = tuple(name.removesuffix(".npy") for name in archive.namelist())
            if missing := [name for name in ("user", "item", "part") if name not in names]:
                found = ", ".join(names) or "none"
                told = "expected arrays user, item and part"
                raise DataError(f"{path}: {told}, found {found}, without {', '.join(missing)}")
            arrays = {}
            for name in [name for name in wanted if name in names]:
                with reading(f"{path}: {name}", "a plain array"):
                    arrays[name] = _load(archive, name)
        if arrays["part"].ndim != 1:
            shape = arrays["part"].shape
            raise DataError(f"{path}: part: expected one dimension, found shape {shape}")
        return cls(path, names, arrays)

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
        values, n = self.arrays[name], len(self.arrays["part"])
        if values.shape != (n,):
            raise DataError(f"{self.path}: {name}: expected shape ({n},), found {values.shape}")
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
