"""Loads interactions from anywhere: in memory where they are few, by pieces where they are many."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from sif.data.databases.opened import query_source
from sif.data.interactions.atomic_files import inter_of
from sif.data.interactions.load import Dataset, filters_of
from sif.data.interactions.load import load_dataset as load_in_memory
from sif.data.interactions.readers import Columns
from sif.data.recipe import list_datasets
from sif.data.streamed.load import Opened, Place, load_streamed
from sif.data.streamed.mapped import Rules
from sif.data.streamed.open import is_streamed, open_source
from sif.data.streamed.ray_source import check, on_ray
from sif.errors import DataError
from sif.utils.addresses import label_of
from sif.utils.paths import check_name

Stream = bool | Literal["auto"]
Reader = Literal["local", "ray"]
READER_VARIABLE = "SIF_READER"
"""Variable of the environment. If it is "local", every job reads its data by itself: a trial on a
cluster holds cores that the tasks of a reading would wait for."""


def load_dataset(
    name_or_path: str | Path,
    *,
    columns: Columns | None = None,
    stream: Stream = "auto",
    reader: Reader = "local",
    query: str | None = None,
    table: str | None = None,
    place: Place | None = None,
    **settings: Any,
) -> Dataset:
    """Load a known data set, a file, a folder, or what a database answers.

    Args:
        name_or_path: A name from `list_datasets`, a path, or the address of a database.
        columns: Roles of columns; the usual names are recognized.
        stream: Whether files are read by pieces into files that are mapped; "auto": large ones and
            folders. Rows of a database always are.
        reader: Who decodes Parquet files that are read by pieces: this process, or Ray Data on a
            cluster.
        query: Asks a database for the rows.
        table: Of a database, in place of a query.
        place: Where such files lie; by default in the folder for temporary ones, until they are
            mapped.
        settings: Further ones of `sif.data.interactions.load.load_dataset`.

    Returns:
        The data set, with notes on everything that was changed; the same numbers either way.

    Raises:
        DataError: Unknown name, missing or bad file, or nothing usable is left.
        ConfigError: Ray is missing, or does not answer at RAY_ADDRESS.
    """
    name = str(name_or_path)
    check_name(name)
    known = name in list_datasets()
    atomic = None if known else inter_of(Path(name))  # of a folder of RecBole, which has more files
    name = name if atomic is None else str(atomic)
    answer = query_source(name, query, table, known)
    if known and stream is True:
        raise DataError(f"data.stream: expected a file or a folder, found the data set {name}")
    by_ray = reader == "ray"
    if by_ray:
        _check_asked(name, known, answer is not None, stream)
    if answer is None and (
        known
        or stream is False
        or (stream == "auto" and not by_ray and not is_streamed(Path(name)))
    ):
        return load_in_memory(name, columns=columns, **settings)
    columns, place = columns or Columns(), place or Place.of(None)
    if answer is not None and not answer.tells_changes:
        place = replace(place, is_kept=False)
    source = answer or open_source(Path(name), columns)
    names = ("min_rating", "min_user", "min_item", "since", "until")
    filters = filters_of(**{name: settings[name] for name in names if name in settings})
    rules = Rules(filters, settings.get("duplicates", "last"))
    label = label_of(name)
    by_ray = by_ray and os.environ.get(READER_VARIABLE) != "local"
    if by_ray:
        check(source)
    opened: Opened = on_ray if by_ray else nullcontext
    return load_streamed(source, label, columns, rules, settings.get("order"), place, opened)


def _check_asked(name: str, known: bool, is_answer: bool, stream: Stream) -> None:
    """Refuses a reading by Ray of what is not read by pieces from files."""
    if known or is_answer:
        found = f"the data set {name}" if known else "a database"
        raise DataError(f"data.reader: expected a Parquet file or a folder for ray, found {found}")
    if stream is False:
        raise DataError("data.stream: expected auto or true with data.reader=ray, found false")
