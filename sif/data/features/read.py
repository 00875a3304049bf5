"""Tables of features from files and frames."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sif.data.features.columns import cells_of
from sif.data.features.plain import is_long, joined_vectors, wide
from sif.data.features.table import Features
from sif.data.interactions.atomic_files import ITEM, USER, read_atomic
from sif.data.interactions.file_kinds import FEATHER, PARQUET, first_bytes
from sif.data.interactions.frames import as_frame
from sif.data.interactions.ids import id_strings
from sif.data.interactions.readers import RECOGNIZED
from sif.data.interactions.table_files import THOUSANDS, open_table, parquet_library, texts_of
from sif.data.reading import reading
from sif.errors import DataError, EntryError
from sif.utils.addresses import entered
from sif.utils.argument_types import shown

_DECIMAL = re.compile(r"[+-]?\d+([.,]\d+)?")


def read_features(
    source: Any, role: str, kinds: Mapping[str, str] | None = None, id_column: str | None = None,
    where: str | None = None,
) -> Features:  # fmt: skip
    """The features of items or of users.

    Args:
        source: A table in memory, see `sif.data.interactions.frames.as_frame`; or the path of a
            text table with a header, of a Parquet or Feather file, or of RecBole's .item or .user;
            or `Features`, which stay. It has a row for each id, or one for each value, see
            `sif.data.features.plain`.
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
    return Features.of(*split_ids(frame, role, id_column, where or place), kinds, where or place)


def further_features(
    source: Any, role: str, known: Features, id_column: str | None = None, where: str | None = None
) -> tuple[Features, tuple[str, ...]]:
    """The features of further items or users, under the columns of known ones.

    Args:
        source: As of `read_features`.
        role: As there.
        known: The features of a fit.
        id_column: As there.
        where: Begins messages; None: the path, or the role.

    Returns:
        One row for each id, and lines on values that the fit did not know.

    Raises:
        DataError: As of `read_features`, or for a column that is not known.
    """
    frame, place = frame_of(source, where or f"{role} features")
    features, ids = split_ids(frame, role, id_column, place)
    further = known.further(features, ids, place)
    return further, tuple(f"{place}: {line}" for line in known.unseen(features))


def frame_of(source: Any, name: str) -> tuple[pd.DataFrame, str]:
    """A table as a data frame, and what messages call it.

    Raises:
        DataError: It is none.
    """
    if isinstance(source, Path) or (isinstance(source, str) and source.strip()):
        path = Path(entered(str(source)))
        return _read(path), str(path)
    frame = as_frame(source, name)
    if frame is None:
        raise DataError(f"{name}: expected a data frame or a file, found {shown(source)}")
    return frame, name


def _read(path: Path) -> pd.DataFrame:
    """A file's table; columns of texts that are all numbers stay texts, as "007"."""
    if path.is_file() and not path.stat().st_size:
        raise DataError(f"{path}: expected a table of features, found an empty file")
    if path.suffix.lower() in (ITEM, USER):
        return read_atomic(path)
    table = open_table(path, lambda first, second: True)
    head, ending = first_bytes(path), path.suffix.lower()
    if head.startswith((PARQUET, FEATHER)) or ending in (".parquet", ".pq"):
        arrow, parquet = parquet_library(path)
        with reading(path, "a table of features"):
            if head.startswith(FEATHER):
                return arrow.feather.read_table(path).to_pandas()
            return parquet.read_table(path).to_pandas()
    frame = pd.DataFrame({place: _with_points(cells) for place, cells in texts_of(table).items()})
    return frame.set_axis(list(table.columns), axis=1)


def _with_points(cells: NDArray[np.object_]) -> NDArray[np.object_]:
    """Texts (n,); if all of them are numbers and some have a decimal comma, with points instead."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    commas = [text for text in texts if "," in text]
    if all(THOUSANDS.fullmatch(text.strip()) for text in commas):
        return cells
    if not all(_DECIMAL.fullmatch(text.strip()) for text in texts):
        return cells
    return cells_of(text.replace(",", ".") if isinstance(text, str) else text for text in cells)


def split_ids(
    frame: pd.DataFrame, role: str, id_column: str | None, where: str
) -> tuple[pd.DataFrame, Any]:
    """The features of a table, with a row for each id, and its ids (n,)."""
    names = [str(name) for name in frame.columns]
    place = _id_place(names, role, id_column, where)
    if names.count(names[place]) > 1:
        raise DataError(f"{where}: expected one column {names[place]!r}, found several")
    if not len(frame):
        raise DataError(f"{where}: expected rows, found none")
    try:
        ids = id_strings(frame.iloc[:, place])
    except EntryError as error:
        raise DataError(
            f"{where} row {error.row + 1}: {names[place]}: {error.expected}, found {error.found}"
        ) from None
    features = frame.drop(columns=frame.columns[place]).set_axis(
        [name for n, name in enumerate(names) if n != place], axis=1
    )
    if is_long(names, place):
        features, ids = wide(features, ids, where)
    twice = pd.Series(ids).duplicated().to_numpy()
    if twice.any():
        row = int(np.argmax(twice))
        raise DataError(
            f"{where} row {row + 1}: {names[place]}: expected one row for each id, found "
            f"{str(ids[row])!r} again"
        )
    return joined_vectors(features), ids


def _id_place(names: Sequence[str], role: str, id_column: str | None, where: str) -> int:
    if id_column is not None and id_column in names:
        return names.index(id_column)
    plain = [name.split(":")[0].replace("_", "").replace(" ", "").lower() for name in names]
    for known in (*RECOGNIZED[role], "id"):
        if known in plain:
            return plain.index(known)
    some = ", ".join(map(repr, names[:12]))
    raise DataError(f"{where}: expected a column of ids such as {role} or id, found {some}")
