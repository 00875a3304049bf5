"""A user's own split (an npz with a part per row, or a file per part) to a `Split` that keeps it.

The npz is one of `sif.data.interactions.npz_files` with `part`. Files are a folder with train,
valid and test in any readable format, or their paths in this order. Without a valid part, one is
taken from train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from sif.data.interactions.clean import check_usable, describe
from sif.data.interactions.columns import Int64Array
from sif.data.interactions.interactions import Interactions, concatenate, ordered, row_keys
from sif.data.interactions.npz_files import read_npz_parts
from sif.data.interactions.parts import (
    MIN_PER_USER,
    PART_NAMES,
    TEST,
    TRAIN,
    VALID,
    place_in_group,
)
from sif.data.interactions.readers import Columns, read_interactions
from sif.data.interactions.split import Split, build_split, held_out, held_out_last
from sif.errors import DataError
from sif.utils.paths import exists

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
    *,
    seed: int = 0,
    order: str | None = None,
) -> Split:
    """Loads a split that was made elsewhere.

    Args:
        path: An npz, a folder with two or three files, or the paths train, valid, test, or train,
            test.
        titles: Item id to title, attached to the interactions.
        columns: Roles of columns in the files; an npz only has the context.
        seed: Draws a valid part where the split has none.
        order: What orders the rows, see `sif.data.interactions.interactions.ordered`.

    Returns:
        The split in the rows' order, protocol "file"; vocabularies are shared by the parts. A valid
        part that it lacks is taken from train, which a note tells: of each user a tenth of the
        train rows, at least one of three, the last ones if the order is known, else at random; the
        last one alone if the test part has one row of a user, as after `last-item`.

    Raises:
        DataError: Something is missing or contradictory, or a pair is in the split twice.
    """
    where, interactions, part = _read(path, columns)
    check_usable(interactions, where)
    if titles:
        interactions = replace(interactions, titles=dict(titles))
    interactions, notes = ordered(interactions, order, where), interactions.notes
    lacks_valid = (part == TEST).any() and not (part == VALID).any()
    if lacks_valid and np.isin(part, (TRAIN, TEST)).all():
        part, note = _with_valid(interactions, part, seed)
        notes = (*notes, f"{where}: {note}")
    seed = seed if lacks_valid else 0
    split = build_split(interactions, part, protocol="file", seed=seed, where=where)
    _refuse_twice(split, where)
    return replace(split, notes=notes)


def _read(
    path: Path_ | Sequence[Path_], columns: Columns | None
) -> tuple[str, Interactions, Int64Array]:
    """The place for messages, all rows, and the part (n,) of each."""
    if not isinstance(path, str | PathLike):
        paths = [Path(p) for p in path]
        where = ", ".join(map(str, paths))
        if len(paths) not in (2, 3):
            raise DataError(f"split files: expected train, valid and test, found {where or 'none'}")
        names = PART_NAMES if len(paths) == 3 else ("train", "test")
        return where, *_from_files(dict(zip(names, paths, strict=True)), columns)
    path = Path(path)
    if exists(path) and path.is_dir():
        return str(path), *_from_files(_in_folder(path), columns)
    interactions, part = read_npz_parts(path, columns.context if columns else ())
    if len(part) and not part.any():
        raise DataError(
            f"{path}: part: expected a split, found 0 (train) in all {len(part):,} rows; give the"
            " file as dataset, and a protocol splits it"
        )
    return str(path), interactions, part


def _with_valid(interactions: Interactions, part: Int64Array, seed: int) -> tuple[Int64Array, str]:
    """Parts with a valid one that is taken from train, and a line on how."""
    rows = np.flatnonzero(part == TRAIN)
    train, everyone = interactions.select(rows), interactions.ids[:, 0]
    users, moment = train.ids[:, 0], train.moment
    if moment is None:
        is_valid, how = held_out(train, seed), f"a tenth of each user's, at random (seed {seed})"
    elif np.bincount(everyone[part == TEST]).max() > 1:
        is_valid, how = held_out_last(train), "the last tenth of each user's"
    else:
        place, n = place_in_group(users, np.lexsort((moment, users)))
        enough = np.bincount(everyone) >= MIN_PER_USER
        is_valid, how = (place == n - 1) & enough[users], "each user's last"
    carved = part.copy()
    carved[rows[is_valid]] = VALID
    told = f"{int(is_valid.sum()):,} of {len(rows):,} train rows become it, {how}"
    return carved, f"found no valid part: {told}"


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


def _in_folder(folder: Path) -> dict[str, Path]:
    """The files by a word of their names: train.csv, ml-100k.valid.inter, u1.base."""
    paths = {}
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for name, spellings in _SPELLINGS.items():
        fits = [p for p in files if set(p.name.lower().split(".")) & set(spellings)]
        if name == "valid" and not fits:
            continue
        if len(fits) != 1:
            names = ", ".join(p.name for p in fits) or "none"
            raise DataError(f"{folder}: expected one file for {name}, found {names}")
        paths[name] = fits[0]
    return paths


def _from_files(
    paths: Mapping[str, Path], columns: Columns | None
) -> tuple[Interactions, Int64Array]:
    parts = [read_interactions(path, columns) for path in paths.values()]
    numbers = [PART_NAMES.index(name) for name in paths]
    return concatenate(parts), np.repeat(numbers, [len(each) for each in parts])
