"""Interactions and features from one format to another: what a job can read, for other programs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from sif.adapters.feature_files import (
    Tables,
    place_of,
    recbole_frames,
    tables_of,
    write_long,
    write_wide,
)
from sif.adapters.recbole import write_recbole
from sif.adapters.rectools import interactions_frame
from sif.adapters.tables import Rows, file_place, new_place, parts_of, write_table
from sif.config.cf import DataConfig
from sif.data.interactions.readers import Columns
from sif.data.interactions.split import Split
from sif.data.interactions.split_file import load_split_file
from sif.data.load import load_dataset
from sif.data.streamed.load import Place
from sif.errors import ConfigError
from sif.utils.addresses import entered
from sif.utils.argument_types import checks_types
from sif.utils.checkpoint import new_folder
from sif.utils.registry import unknown

DEFAULTS = DataConfig()
_logger = logging.getLogger("sif")


@checks_types
def convert(
    source: str | Path, to: str, output: str | Path, *, is_split: bool = False,
    settings: DataConfig = DEFAULTS,
) -> Path:  # fmt: skip
    """Writes interactions and features for another program; returns the file or folder.

    The logger "sif" warns of everything that is not written as it was read.

    Args:
        source: A file, a folder, a known data set, or the address of a database. Of a repeated pair
            one row is kept, as a job keeps it.
        to: Key of `FORMATS`.
        output: recbole: a new folder, whose name is the dataset's. csv, parquet: a file of that
            ending, or a new folder for a split. rectools: a file of one of the two. Folders above
            are made. Features lie beside a file, as NAME.item_features.csv beside NAME.csv.
        is_split: Whether the source holds a train, a valid and a test part that stay apart.
        settings: How data are read and filtered, and tables of features. Those of RecBole lie
            beside its interactions and need no name.

    Raises:
        DataError: Data that cannot be used, or that the format cannot hold.
        ConfigError: An unknown format, or an output that does not suit it.
        CheckpointError: A failed write; nothing has changed.

    Examples:
        >>> from pathlib import Path
        >>> from sif.adapters.convert import convert
        >>> orders.to_csv("orders.csv", index=False)
        >>> convert("orders.csv", "rectools", "orders.parquet").name
        'orders.parquet'
    """
    if to not in FORMATS:
        raise unknown("to", to, FORMATS)
    kind = FORMATS[to]
    if is_split and not kind.splits:
        raise ConfigError(f"{to}: expected interactions, found a split, for which it has no files")
    made = Path(output)
    if kind.endings and not is_split:
        file_place(made, kind.endings)
    else:
        new_place(made)
    rows = _split(source, settings) if is_split else _interactions(source, settings)
    return kind.write(rows, tables_of(source, settings, rows), made)


def _split(source: str | Path, settings: DataConfig) -> Split:
    split = load_split_file(source, columns=Columns.of(settings), order=settings.order)
    _tell(split.notes)
    return split


def _interactions(source: str | Path, settings: DataConfig) -> Rows:
    data = load_dataset(
        entered(str(source)), columns=Columns.of(settings), stream=settings.stream,
        query=settings.query, table=settings.table, place=Place.of(settings.scratch),
        data_dir=settings.dir, min_rating=settings.min_rating, min_user=settings.min_user,
        min_item=settings.min_item, since=settings.since, until=settings.until,
        duplicates=settings.duplicates, order=settings.order,
    )  # fmt: skip
    _tell(data.notes)
    return data.interactions


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        _logger.warning("%s", note)


def _tables(ending: str, rows: Rows, features: Tables, output: Path) -> Path:
    """A file, or for a split a new folder with a file for each part; tables of features beside."""
    if not isinstance(rows, Split):
        ((_, table),) = parts_of(rows)
        write_wide(features, lambda role: place_of(role, output), write_table)
        return write_table(_texts(table), output)
    with new_folder(output) as draft:
        write_wide(features, lambda role: draft / f"{role}_features{ending}", write_table)
        for part, table in parts_of(rows):
            write_table(_texts(table), draft / f"{part}{ending}")
    return output


def _rectools(rows: Rows, features: Tables, output: Path) -> Path:
    frame = interactions_frame(rows)
    write_long(features, output, write_table)
    return write_table(frame, output)


def _recbole(rows: Rows, features: Tables, output: Path) -> Path:
    frames = recbole_frames(features, rows)
    return write_recbole(rows, output, items=frames.get("item"), users=frames.get("user"))


def _texts(table: pd.DataFrame) -> pd.DataFrame:
    """Ids as plain texts, which every reader of Parquet takes."""
    coded = table.select_dtypes("category").columns
    return table.astype(dict.fromkeys(coded, object))


@dataclass(frozen=True)
class Format:
    """A format of interactions.

    Attributes:
        write: Writes rows and features to a path, which has been checked; returns the path.
        endings: Of a file's name; none: it is a new folder, as that of a split always is.
        splits: Whether it holds splits.
    """

    write: Callable[[Rows, Tables, Path], Path]
    endings: tuple[str, ...] = ()
    splits: bool = True


FORMATS: Mapping[str, Format] = {
    "recbole": Format(_recbole),
    "rectools": Format(_rectools, (".csv", ".parquet"), splits=False),
    "csv": Format(partial(_tables, ".csv"), (".csv",)),
    "parquet": Format(partial(_tables, ".parquet"), (".parquet",)),
}
"""Name of a format to how it is written."""
