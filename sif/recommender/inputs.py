"""Reads interactions of any form, and splits them into the parts of a fit."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sif.config.cf import DataConfig
from sif.data.interactions import (
    Columns,
    Interactions,
    as_frame,
    concatenate,
    held_out,
    held_out_last,
    read_arrow,
    read_frame,
    read_matrix,
)
from sif.data.interactions.clean import check_usable, cleaned
from sif.data.interactions.interactions import ordered, row_keys
from sif.data.interactions.load import filters_of
from sif.data.load import load_dataset
from sif.data.streamed.load import Place
from sif.errors import ConfigError, DataError
from sif.utils.addresses import entered
from sif.utils.argument_types import shown

_logger = logging.getLogger("sif")

DEFAULTS = DataConfig()
"""Settings of how data are read."""


def is_matrix(data: Any) -> bool:
    """True for a sparse matrix of any format."""
    return hasattr(data, "tocoo")


def interactions_of(
    data: Any, config: DataConfig, objective: str, name: str = "data", is_fit: bool = False
) -> Interactions:
    """Interactions of any form: of a data frame, a matrix, a file or a known data set.

    Args:
        data: One of these, a frame of pandas, or anything that hands out Arrow or becomes a frame
            by `to_pandas`; a mapping of columns or a list of rows that are mappings; `Interactions`
            stay as they are.
        config: Names of the columns, and where data sets lie.
        objective: Chooses the values of a matrix, see `sif.data.interactions.matrix_values`.
        name: Of the argument, for messages.
        is_fit: Whether a fit reads them, which warns if times may have been left out.

    Raises:
        DataError: Another type, or data that cannot be used.
    """
    interactions = _read(data, config, objective, name)
    level = logging.WARNING if is_fit and interactions.timestamp is None else logging.INFO
    for note in interactions.notes:
        _logger.log(level, "%s", note)
    return interactions


def _read(data: Any, config: DataConfig, objective: str, name: str) -> Interactions:
    if isinstance(data, Interactions):
        return data
    columns = Columns.of(config)
    if hasattr(data, "__arrow_c_stream__") and not isinstance(data, pd.DataFrame):
        return read_arrow(data, columns)  # a frame of polars, a table of pyarrow
    if isinstance(data, Path) or (isinstance(data, str) and data.strip()):
        return load_dataset(
            entered(str(data)), columns=columns, stream=config.stream,
            reader=config.reader, query=config.query, table=config.table,
            place=Place.of(config.scratch), data_dir=config.dir,
        ).interactions  # fmt: skip
    if is_matrix(data):
        return read_matrix(data, objective)
    frame = as_frame(data, name)
    if frame is not None:
        return read_frame(frame, columns)
    raise DataError(
        f"{name}: expected a data frame, a sparse matrix, a file or Interactions, found "
        f"{shown(data)}"
    )


def further_interactions(data: Any, config: DataConfig, objective: str) -> Interactions:
    """Interactions that come after training, merged and filtered by rating as those before.

    Args:
        data: See `interactions_of`.
        config: Of the training; how many interactions a user or an item has is not asked.
        objective: See `interactions_of`.

    Raises:
        DataError: Another type, or data that cannot be used.
    """
    by = "rows" if config.order == "rows" else None  # times may be missing in later rows
    if isinstance(data, pd.DataFrame) and config.timestamp not in (None, *map(str, data.columns)):
        config = config.model_copy(update={"timestamp": None})  # as where none was named
    further = ordered(interactions_of(data, config, objective), by, "interactions")
    return _cleaned(further, config, 1, 1)


def parts(
    data: Any, valid: Any, seed: int, config: DataConfig = DEFAULTS, objective: str = "ranking"
) -> tuple[Interactions, Interactions, Interactions]:
    """All interactions, and their train and validation part, under the same vocabularies.

    Without a validation part, a tenth of every user's interactions, at least one of three: the last
    ones of rankings whose order is known.

    Args:
        data: See `interactions_of`. Of a matrix all rows and columns stay, the empty ones too.
        valid: The same, or None. Pairs that are in `data` as well stay there.
        seed: Draws the held-out interactions.
        config: Settings of reading, merging and filtering.
        objective: See `interactions_of`.

    Raises:
        ConfigError: Settings of splits, which `fit` does not make.
        DataError: Data that cannot be used, or of which nothing is left to hold out.
    """
    for name in ("protocol", "split_file", "time_buckets"):
        if getattr(config, name) is not None:
            raise ConfigError(f"data.{name}: fit makes no such split; give valid= or run a job")
    read = partial(interactions_of, config=config, objective=objective)
    whole = is_matrix(data)  # whose numbers are ids, so that none may move up
    given = ordered(read(data, is_fit=True), config.order, "interactions")
    known = _cleaned(given, config, config.min_user, config.min_item, whole)
    check_usable(known, "interactions")
    if valid is None:
        in_order = known.moment is not None and objective == "ranking"
        is_valid = held_out_last(known) if in_order else held_out(known, seed)
    else:
        later = ordered(read(valid, name="valid"), config.order, "valid")
        judged = _cleaned(later, config.lasting, 1, 1)  # whenever it happened
        if known.rating is not None and judged.rating is None:
            raise DataError("valid: expected a rating column as in the interactions, found none")
        known, is_valid = _joined(known, judged)
    if not is_valid.any():
        raise DataError(
            f"interactions: expected some to hold out, users with three or more or valid=, found "
            f"{len(known)} of {known.sizes[0]} users"
        )
    return known, known.select(~is_valid), known.select(is_valid)


def _joined(known: Interactions, judged: Interactions) -> tuple[Interactions, NDArray[np.bool_]]:
    """All rows, those of both parts once, and which are the validation part's alone."""
    both, first = concatenate([known, judged]), len(known)
    keys = row_keys(both.ids, both.sizes)
    fresh = ~np.isin(keys, keys[:first])
    if not fresh.any():
        raise DataError(
            "valid: expected pairs that the interactions do not have, found none among its "
            f"{len(judged)}"
        )
    if both.place is not None:  # the rows of the second part stand behind those of the first
        both = replace(both, place=np.arange(len(both)))
    joined = both.select(fresh | (np.arange(len(both)) < first))
    return joined, np.arange(len(joined)) >= first


def _cleaned(
    data: Interactions, config: DataConfig, min_user: int, min_item: int, keep_ids: bool = False
) -> Interactions:
    filters = filters_of(config.min_rating, min_user, min_item, config.since, config.until)
    return cleaned(data, filters, config.duplicates, keep_ids)[0]
