"""Datasets of RecBole as interactions and features, and back.

data = read_recbole("dataset/ml-100k")
recommender = sif.Recommender().fit(data.interactions)
write_recbole(data.interactions, "dataset/mine", items=data.items)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from sif.adapters.tables import Rows, new_place, parts_of, rows_of, titles_of
from sif.data.interactions import Interactions
from sif.data.interactions.atomic_files import (
    FLOAT,
    INTER,
    ITEM,
    TOKEN,
    USER,
    atomic_text,
    beside,
    inter_of,
    kinds_of,
    read_atomic,
    titles_beside,
)
from sif.data.interactions.ids import id_strings
from sif.data.interactions.readers import Columns, read_interactions
from sif.data.interactions.split import Split
from sif.data.interactions.split_file import load_split_file
from sif.errors import DataError, EntryError
from sif.utils.argument_types import checks_types
from sif.utils.checkpoint import new_folder, write_text_atomic

NAMES = {"user": "user_id", "item": "item_id"}
"""Our names of columns to those of RecBole's own datasets."""


@dataclass(frozen=True, eq=False)
class RecBoleData:
    """The content of a dataset's folder.

    Attributes:
        name: Of the dataset.
        interactions: All rows, with the titles of the items where these have any.
        split: The published parts; None: there are none.
        items: Features of items, "item_id" first; None: there are none.
        users: Features of users likewise.

    Examples:
        >>> from sif.adapters.recbole import RecBoleData, read_recbole, write_recbole
        >>> data: RecBoleData = read_recbole(write_recbole(orders, "tea"))
        >>> data.name
        'tea'
    """

    name: str
    interactions: Interactions
    split: Split | None = None
    items: pd.DataFrame | None = None
    users: pd.DataFrame | None = None


@checks_types
def read_recbole(path: str | Path, columns: Columns | None = None) -> RecBoleData:
    """Reads a dataset of RecBole.

    Args:
        path: The folder NAME with NAME.inter, or with NAME.train.inter, NAME.valid.inter and
            NAME.test.inter; or one .inter, with the other files beside it.
        columns: Roles of columns; the usual names are recognized.

    Returns:
        Interactions, split and features. Columns of tokens are texts, of floats numbers, of
        sequences lists.

    Raises:
        DataError: There is no such file, or one cannot be read.

    Examples:
        >>> from sif.adapters.recbole import read_recbole, write_recbole
        >>> folder = write_recbole(orders, "tea")
        >>> data = read_recbole(folder)
        >>> len(data.interactions) == len(orders), data.split
        (True, None)
    """
    place = Path(path)
    file = place if place.is_file() else inter_of(place)
    split = None
    if file is None:
        split, file = _split(place, columns)
    titles = titles_beside(file)
    if split is None:
        rows = read_interactions(file, columns)
        rows = replace(rows, titles=titles)
    else:
        rows = split.interactions
    items, users = (
        None if found is None else read_atomic(found)
        for found in (beside(file, ITEM), beside(file, USER))
    )
    return RecBoleData(file.name.partition(".")[0], rows, split, items, users)


def _split(folder: Path, columns: Columns | None) -> tuple[Split, Path]:
    """The published parts of a folder, and the file of the first."""
    train = sorted(folder.glob(f"*.train{INTER}")) if folder.is_dir() else []
    if len(train) != 1:
        raise DataError(
            f"{folder}: expected {folder.name}{INTER} or one NAME.train{INTER} in a folder, found "
            "neither"
        )
    return load_split_file(folder, titles_beside(train[0]), columns), train[0]


@checks_types
def write_recbole(
    data: Any, folder: str | Path, *, items: pd.DataFrame | None = None,
    users: pd.DataFrame | None = None,
) -> Path:  # fmt: skip
    """Writes a dataset of RecBole into a new folder, whose name is the dataset's.

    Args:
        data: Interactions in any form of `Recommender.fit`, or a `Split`, which becomes the files
            of `benchmark_filename: [train, valid, test]`.
        folder: Must not be there.
        items: Features of items: a column "item_id" or "item", then numbers, texts or lists of
            them; None: the titles of the interactions, where they have any.
        users: Features of users likewise.

    Returns:
        The folder.

    Raises:
        DataError: Data that cannot be used, or a text that RecBole would read otherwise.
        ConfigError: The folder is there, or that which should hold it is not.
        CheckpointError: A failed write; nothing has changed.

    Examples:
        >>> from sif.adapters.recbole import write_recbole
        >>> sorted(file.name for file in write_recbole(orders, "tea").iterdir())
        ['tea.inter']
    """
    place = new_place(Path(folder))
    rows = rows_of(data)
    texts = {
        f"{place.name}{'.' * bool(part)}{part}{INTER}": table
        for part, table in parts_of(rows, NAMES)
    }
    files = {name: _inter(table, name) for name, table in texts.items()}
    items = _titles(rows) if items is None else items
    for kind, ending, frame in (("item", ITEM, items), ("user", USER, users)):
        if frame is not None:
            files[f"{place.name}{ending}"] = _features(frame, kind, f"{place.name}{ending}")
    with new_folder(place) as draft:
        for name, text in files.items():
            write_text_atomic(draft / name, text)
    return place


def _inter(table: pd.DataFrame, name: str) -> str:
    floats = [column for column in ("rating", "timestamp") if column in table]
    kinds = {**dict.fromkeys(table.columns, TOKEN), **dict.fromkeys(floats, FLOAT)}
    return atomic_text(table, kinds, name)


def _features(frame: pd.DataFrame, kind: str, file: str) -> str:
    """The content of a file of features, its id first."""
    own = next((name for name in (f"{kind}_id", kind) if name in frame.columns), None)
    if own is None:
        raise DataError(
            f"{kind}s: expected a column {kind}_id or {kind}, found "
            f"{', '.join(map(str, frame.columns)) or 'none'}"
        )
    others = [name for name in frame.columns if name != own]
    try:
        ids = id_strings(frame[own])
    except EntryError as error:
        where = f"{kind}s row {error.row + 1}: {own}"
        raise DataError(f"{where}: {error.expected}, found {error.found}") from None
    ordered = frame[others].reset_index(drop=True)
    ordered.insert(0, NAMES[kind], ids.astype(object))
    return atomic_text(ordered, kinds_of(ordered, [NAMES[kind]]), file)


def _titles(rows: Rows) -> pd.DataFrame | None:
    """The titles of interactions as features; quotes and line breaks as RecBole can read them."""
    titles = titles_of(rows)
    if not titles:
        return None
    words = [title.replace('"', "'").split() for title in titles.values()]
    return pd.DataFrame({"item_id": list(titles), "title": words})
