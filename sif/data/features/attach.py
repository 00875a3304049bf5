"""Interactions with the features of their users and items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sif.config.cf import DataConfig
from sif.data.features.read import read_features
from sif.data.features.table import Features
from sif.data.interactions.interactions import Interactions
from sif.errors import DataError

ROLES = ("user", "item")
"""Fields that may have features, in their order."""


def with_features(
    rows: Interactions, config: DataConfig, item: Any = None, user: Any = None
) -> tuple[Interactions, tuple[str, ...]]:
    """Interactions with features, and lines on these for people.

    Args:
        rows: All interactions.
        config: Names the tables, and kinds of their columns.
        item: A table of any form in place of the named one; None: the named one.
        user: As `item`.

    Raises:
        DataError: A table that cannot be used, or a kind of a column that no table has.
    """
    given = {"user": user, "item": item}
    tables, notes = dict[str, Features](), list[str]()
    for field, role in enumerate(ROLES):
        source = given[role]
        source = getattr(config, f"{role}_features") if source is None else source
        if source is not None:
            tables[role] = read_features(source, role, config.feature_kinds)
            notes.append(_told(tables[role], role, rows, field))
    _check_named(config.feature_kinds, tables)
    found: dict[str, Any] = {f"{role}_features": table for role, table in tables.items()}
    return (replace(rows, **found) if found else rows), tuple(notes)


def _check_named(kinds: Mapping[str, str], tables: Mapping[str, Features]) -> None:
    """Raises DataError for a column that no table has."""
    names = {name for table in tables.values() for name in (*table.ignored, *table.names)}
    for name in kinds:
        if name not in names:
            there = ", ".join(sorted(names)) or "no table of features"
            raise DataError(f"data.feature_kinds: expected a column of {there}, found {name!r}")


def _told(table: Features, role: str, rows: Interactions, field: int) -> str:
    vocabulary = rows.vocabularies[field]
    have = int((np.diff(table.aligned(vocabulary).indptr) > 0).sum())
    unknown = table.unknown(vocabulary)
    if unknown == len(table.vocabulary):
        raise DataError(
            f"features of {role}s: expected ids of the interactions, such as "
            f"{str(vocabulary.ids[0])!r}, found none, but {str(table.vocabulary.ids[0])!r}"
        )
    line = (
        f"features of {role}s: {table.described()}; {have:,} of {len(vocabulary):,} {role}s have "
        "some"
    )
    if not unknown:
        return line
    more = "1 id of the table has" if unknown == 1 else f"{unknown:,} ids of the table have"
    return f"{line}; {more} no interactions"
