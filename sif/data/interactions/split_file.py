"""A user's own split (an npz with a part per row, or three files) to a `Split` that keeps it.

The npz holds `user`, `item` (numbers) and `part` (0 train, 1 valid, 2 test), and if known `rating`,
`timestamp`, the original ids `user_ids`, `item_ids`, and context fields likewise. Three files are a
folder with train, valid and test in any readable format, or their paths in this order.
"""

from __future__ import annotations

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

from sif.data.interactions.cells import INT64, Int64Array
from sif.data.interactions.clean import check_usable, describe
from sif.data.interactions.interactions import Interactions, concatenate, row_keys
from sif.data.interactions.ratings import ratings_of
from sif.data.interactions.readers import Columns, read_interactions
from sif.data.interactions.split import PART_NAMES, Split, build_split
from sif.data.interactions.times import seconds_of
from sif.data.interactions.vocabulary import Vocabulary
from sif.errors import CellError, DataError

_SPELLINGS = {
    "train": ("train", "training", "base"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing"),
}
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
        if path.is_dir():
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
    npz = _Npz(path, _load_arrays(path))
    columns, vocabularies = [], []
    fields = ("user", "item", *context)
    for name in fields:
        if name not in npz.arrays:
            raise DataError(
                f"{path}: data.context: expected an array {name!r}, found {', '.join(npz.arrays)}"
            )
        codes = npz.integers(name)
        if f"{name}_ids" in npz.arrays:
            try:
                vocabulary = Vocabulary(npz.arrays[f"{name}_ids"])
            except DataError as error:
                raise DataError(f"{path}: {name}_ids: {error}") from None
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


def _load_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    if not path.is_file():
        raise DataError(f"{path}: expected a split file or folder, found neither")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: expected an npz, found an empty file")
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"{path}: expected an npz (or a folder with train, valid and test), found another kind"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: expected an npz, found a single array")
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"{path}: expected an npz of plain arrays, found: {reason}") from None
    missing = [name for name in ("user", "item", "part") if name not in arrays]
    if missing:
        raise DataError(
            f"{path}: expected arrays user, item and part, found {', '.join(arrays) or 'none'}"
        )
    return arrays


@dataclass(frozen=True, eq=False)
class _Npz:
    """The arrays of a file, checked on access."""

    path: Path
    arrays: dict[str, npt.NDArray[Any]]

    def integers(self, name: str) -> Int64Array:
        values = self._integers(name)
        if values.dtype.kind == "f":
            whole = (np.abs(values) < 2.0**63) & (values == np.floor(values))
            self.refuse(values, whole, f"{name}: expected an integer")
        self.refuse(values, values <= INT64.max, f"{name}: expected an integer in int64")
        return values.astype(np.int64)

    def ratings(self) -> npt.NDArray[np.float32]:
        values = self._column("rating")
        if values.dtype.kind == "f":
            self.refuse(values, np.isfinite(values), "rating: expected a finite number")
        with self._named("rating"):
            return ratings_of(values)

    def times(self) -> tuple[Int64Array | None, tuple[str, ...]]:
        if "timestamp" not in self.arrays:
            return None, ()
        with self._named("timestamp"):
            seconds, read_as = seconds_of(self._column("timestamp"))
        note = f"{self.path}: timestamp: numbers read as {read_as}"
        return seconds, (note,) if read_as else ()

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        try:
            yield
        except CellError as error:
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
