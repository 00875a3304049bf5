"""Interactions as tables for other libraries, and files of them that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sif.data.interactions import Interactions
from sif.data.interactions.parts import PART_NAMES
from sif.data.interactions.split import Split
from sif.errors import CheckpointError, ConfigError
from sif.recommender.inputs import DEFAULTS, interactions_of
from sif.utils.optional import library

Rows = Interactions | Split


def rows_of(data: Any) -> Rows:
    """Interactions of any form of `Recommender.fit`; a split stays as it is.

    Raises:
        DataError: Data that cannot be used.
    """
    return data if isinstance(data, Split) else interactions_of(data, DEFAULTS, "rating")


def titles_of(rows: Rows) -> Mapping[str, str]:
    """Item id to title."""
    return (rows.interactions if isinstance(rows, Split) else rows).titles


def table_of(rows: Interactions, names: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The rows as a data frame: fields as categoricals of ids, then rating and timestamp if known.

    Args:
        rows: Interactions.
        names: Our name of a column to that in the frame; None: ours.
    """
    columns: dict[str, Any] = {
        field: pd.Categorical.from_codes(rows.ids[:, place], vocabulary.ids.astype(object))
        for place, (field, vocabulary) in enumerate(
            zip(rows.fields, rows.vocabularies, strict=True)
        )
    }
    more = {"rating": rows.rating, "timestamp": rows.timestamp}
    columns |= {name: values for name, values in more.items() if values is not None}
    return pd.DataFrame(columns).rename(columns=dict(names or {}))


def parts_of(rows: Rows, names: Mapping[str, str] | None = None) -> list[tuple[str, pd.DataFrame]]:
    """The tables of each part of a split by its name, or the one table of interactions, by ""."""
    if isinstance(rows, Interactions):
        return [("", table_of(rows, names))]
    return [(name, table_of(rows.rows(part), names)) for part, name in enumerate(PART_NAMES)]


def new_place(folder: Path) -> Path:
    """The path, if a new folder can be made there; those above it may be missing.

    Raises:
        ConfigError: Something is there, or a file stands where a folder is needed.
    """
    if folder.exists():
        found = "a folder" if folder.is_dir() else "a file"
        raise ConfigError(f"{folder}: expected a new folder, found {found} that is there")
    _check_above(folder)
    return folder


def _check_above(path: Path) -> None:
    """Raises ConfigError where folders for a path cannot be made."""
    above = next(one for one in path.resolve().parents if one.exists())
    if not above.is_dir():
        raise ConfigError(f"{path}: expected a folder to write it into, found the file {above}")


def file_place(path: Path, endings: Sequence[str]) -> Path:
    """The path, if its name has one of some endings; folders above it may be missing.

    Raises:
        ConfigError: Otherwise, or Parquet without pyarrow.
    """
    if path.suffix not in endings:
        told = " or ".join(endings)
        raise ConfigError(f"{path}: expected a name that ends in {told}")
    if path.is_dir():
        raise ConfigError(f"{path}: expected a file to write, found a folder")
    _check_above(path)
    if path.suffix == ".parquet":
        library("pyarrow", str(path))
    return path


def write_table(frame: pd.DataFrame, path: Path) -> Path:
    """Writes a data frame as Parquet or CSV, by the name's ending; returns the file.

    Raises:
        CheckpointError: A failed write; nothing has changed.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            frame.to_parquet(part, index=False)
        else:
            frame.to_csv(part, index=False)
        os.replace(part, path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return path
