"""Tables of features from files and frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sif.data.features.table import Features
from sif.data.interactions.file_kinds import FEATHER, PARQUET, first_bytes
from sif.data.interactions.ids import id_strings
from sif.data.interactions.readers import RECOGNIZED
from sif.data.interactions.table_files import open_table, parquet_library
from sif.data.reading import reading
from sif.errors import DataError, EntryError
from sif.utils.addresses import entered
from sif.utils.argument_types import shown


def read_features(
    source: Any, role: str, kinds: Mapping[str, str] | None = None, id_column: str | None = None,
    where: str | None = None,
) -> Features:  # fmt: skip
    """The features of items or of users.

    Args:
        source: A data frame, anything that hands out Arrow or has `to_pandas`, or the path of a
            text table with a header, a Parquet or a Feather file; or `Features`, which stay.
        role: "item" or "user": whose ids they are keyed by.
        kinds: See `Features.of`.
        id_column: Name of the column of ids; None: recognized by its name, or "id".
        where: Begins messages; None: the path, or the role.

    Returns:
        One row for each id.

    Raises:
        DataError: No table, no column of ids, an id that is missing or there twice, or a cell that
            does not fit its column.

    Examples:
        >>> import pandas as pd
        >>> from sif.data.features import read_features
        >>> read_features(pd.DataFrame({"item": ["a", "b"], "year": [1990, 2010]}), "item").width
        8
    """
    if isinstance(source, Features):
        return source
    frame, place = frame_of(source, f"{role} features")
    return Features.of(*_split(frame, role, id_column, where or place), kinds, where or place)


def further_features(
    source: Any, role: str, known: Features, id_column: str | None = None, where: str | None = None
) -> Features:
    """The features of further items or users, under the columns of known ones."""
    frame, place = frame_of(source, where or f"{role} features")
    features, ids = _split(frame, role, id_column, place)
    return known.further(features, ids, place)


def frame_of(source: Any, name: str) -> tuple[pd.DataFrame, str]:
    """A table as a data frame, and what messages call it.

    Raises:
        DataError: It is none.
    """
    if isinstance(source, pd.DataFrame):
        return source, name
    if isinstance(source, Path) or (isinstance(source, str) and source.strip()):
        path = Path(entered(str(source)))
        return _read(path), str(path)
    if hasattr(source, "to_pandas"):
        return frame_of(source.to_pandas(), name)
    if hasattr(source, "__arrow_c_stream__"):
        arrow, _ = parquet_library(Path(name))
        return arrow.table(source).to_pandas(), name
    raise DataError(f"{name}: expected a data frame or a file, found {shown(source)}")


def _read(path: Path) -> pd.DataFrame:
    """A file's table; columns of texts that are all numbers stay texts, as "007"."""
    if path.is_file() and not path.stat().st_size:
        raise DataError(f"{path}: expected a table of features, found an empty file")
    table = open_table(path, lambda first, second: True)
    head, ending = first_bytes(path), path.suffix.lower()
    if head.startswith((PARQUET, FEATHER)) or ending in (".parquet", ".pq"):
        arrow, parquet = parquet_library(path)
        with reading(path, "a table of features"):
            if head.startswith(FEATHER):
                return arrow.feather.read_table(path).to_pandas()
            return parquet.read_table(path).to_pandas()
    columns = table.read(dict.fromkeys(range(len(table.columns)), "str"))
    frame = pd.DataFrame({place: columns[place].to_numpy(object) for place in columns})
    return frame.set_axis(list(table.columns), axis=1)


def _split(
    frame: pd.DataFrame, role: str, id_column: str | None, where: str
) -> tuple[pd.DataFrame, Any]:
    """The features of a table, and its ids (n,)."""
    names = [str(name) for name in frame.columns]
    place = _id_place(names, role, id_column, where)
    if not len(frame):
        raise DataError(f"{where}: expected rows, found none")
    try:
        ids = id_strings(frame.iloc[:, place])
    except EntryError as error:
        raise DataError(
            f"{where} row {error.row + 1}: {names[place]}: {error.expected}, found {error.found}"
        ) from None
    twice = pd.Series(ids).duplicated().to_numpy()
    if twice.any():
        row = int(np.argmax(twice))
        raise DataError(
            f"{where} row {row + 1}: {names[place]}: expected one row for each id, found "
            f"{str(ids[row])!r} again"
        )
    return frame.drop(columns=frame.columns[place]), ids


def _id_place(names: Sequence[str], role: str, id_column: str | None, where: str) -> int:
    if id_column is not None and id_column in names:
        return names.index(id_column)
    plain = [name.split(":")[0].replace("_", "").replace(" ", "").lower() for name in names]
    for known in (*RECOGNIZED[role], "id"):
        if known in plain:
            return plain.index(known)
    some = ", ".join(map(repr, names[:12]))
    raise DataError(f"{where}: expected a column of ids such as {role} or id, found {some}")
