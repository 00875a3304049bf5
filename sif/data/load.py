"""Loads interactions from anywhere: in memory where they are few, by pieces where they are many."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from sif.data.interactions.load import Dataset
from sif.data.interactions.load import load_dataset as load_in_memory
from sif.data.interactions.readers import Columns
from sif.data.recipe import list_datasets
from sif.data.streamed.load import Place, load_streamed
from sif.data.streamed.mapped import Rules
from sif.data.streamed.open import is_streamed, open_source
from sif.errors import DataError

Stream = bool | Literal["auto"]


def load_dataset(
    name_or_path: str | Path,
    *,
    columns: Columns | None = None,
    stream: Stream = "auto",
    place: Place | None = None,
    **settings: Any,
) -> Dataset:
    """Load a known data set, a file or a folder.

    Args:
        name_or_path: A name from `list_datasets`, or a path.
        columns: Roles of columns; the usual names are recognized.
        stream: Whether files are read by pieces into files that are mapped; "auto": large ones and
            folders.
        place: Where such files lie; by default in the folder for temporary ones, until they are
            mapped.
        settings: Further ones of `sif.data.interactions.load.load_dataset`.

    Returns:
        The data set, with notes on everything that was changed; the same numbers either way.

    Raises:
        DataError: Unknown name, missing or bad file, or nothing usable is left.
    """
    known = str(name_or_path) in list_datasets()
    if known and stream is True:
        raise DataError(
            f"data.stream: expected a file or a folder, found the data set {name_or_path}"
        )
    if known or stream is False or (stream == "auto" and not is_streamed(Path(name_or_path))):
        return load_in_memory(name_or_path, columns=columns, **settings)
    columns, path = columns or Columns(), Path(name_or_path)
    names = ("min_rating", "min_user", "min_item", "duplicates")
    rules = Rules(**{name: settings[name] for name in names if name in settings})
    return load_streamed(
        open_source(path, columns), path.stem, columns, rules, settings.get("order"),
        place or Place.of(None),
    )  # fmt: skip
