"""Users whom nobody knows, taken in by their features, or asked about without being kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import scipy.sparse as sp

from sif.data.features.read import further_features
from sif.data.features.table import Features
from sif.errors import ConfigError, DataError
from sif.recommender.extend import with_bare
from sif.recommender.model import ServedModel

_ID = "\x01id"
"""Column of ids in a table of one row, which no feature is called."""
_logger = logging.getLogger("sif")


def with_users(model: ServedModel, table: Any, id_column: str | None = None) -> ServedModel:
    """The model with the users of a further table of features, who need no interactions.

    Users with interactions stay as they are: these answer for them.

    Args:
        model: Fitted with features of users.
        table: As for `sif.data.features.read_features`, with the same columns; those that are
            missing are as values that are.
        id_column: Of the table; None: recognized by its name.

    Raises:
        DataError: A table that cannot be used.
        ConfigError: The model knows no features, or is of ratings or further fields.
    """
    known = _features_of(model, "add_users")
    further, notes = further_features(table, "user", known, id_column)
    names = further.vocabulary.ids
    rows = model.vocabularies[0].lookup(names)
    assert model.cold_start is not None  # noqa: S101
    warm = int((~model.cold_start.cold_users[rows[rows >= 0]]).sum())
    if warm:
        told = "1 user has" if warm == 1 else f"{warm:,} users have"
        notes = (*notes, f"{told} interactions, which go on to answer")
    for note in notes:
        _logger.warning("add_users: %s", note)
    model = with_bare(model, 0, names[rows < 0]) if (rows < 0).any() else model
    return replace(model, user_features=known.joined(further)).with_users_of(model)


def with_listed_users(model: ServedModel) -> ServedModel:
    """The model that knows all users of its table of features, also those without interactions."""
    table = model.user_features
    if table is None or model.rule is None or len(model.fields) != 2:
        return model
    names = table.vocabulary.ids
    fresh = names[model.vocabularies[0].lookup(names) < 0]
    return with_bare(model, 0, fresh) if len(fresh) else model


def features_row(model: ServedModel, values: Any, name: str = "features") -> sp.csr_array:
    """Features of somebody who is in no table, as a row (1, m).

    Args:
        model: Fitted with features of users.
        values: Column to value.
        name: Begins messages.

    Raises:
        DataError: No mapping, an unknown column, or a value that does not fit its column.
        ConfigError: See `with_users`.
    """
    known = _features_of(model, name)
    if not isinstance(values, Mapping) or not values:
        raise DataError(f"{name}: expected a mapping from columns to values, found {values!r:.80}")
    row = pd.DataFrame({_ID: ["\x01"], **{str(key): [value] for key, value in values.items()}})
    return further_features(row, "user", known, _ID, name)[0].matrix


def _features_of(model: ServedModel, place: str) -> Features:
    if model.user_features is None:
        raise ConfigError(
            f"{place}: expected a model that was fitted with user_features, found one without"
        )
    if len(model.fields) != 2 or model.rule is None:
        raise ConfigError(f"{place}: expected a model of rankings by user and item")
    return model.user_features
