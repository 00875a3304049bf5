"""Types that only databases have, as types that every reader knows."""

from __future__ import annotations

from typing import Any

import numpy as np

from sif.data.databases.base import arrow_for
from sif.data.interactions.table_files import with_uuid_texts
from sif.errors import DataError

_INFINITE = 0.999
"""Share of the largest number of its type from which a time is infinite."""


def plain_type(name: str, field: Any) -> Any:
    """The type in which a column is read.

    Identifiers (UUID), JSON and numbers of any precision become texts, decimals with a fraction
    floats.

    Args:
        name: The database, for the message.
        field: A `pyarrow.Field`.

    Raises:
        DataError: Single values of the type are nothing that Arrow knows.
    """
    arrow, kind = arrow_for(name), field.type
    if isinstance(kind, arrow.UuidType):
        return arrow.string()
    if isinstance(kind, arrow.BaseExtensionType):
        if arrow.types.is_string(kind.storage_type):
            return arrow.string()
        told = getattr(kind, "type_name", kind)
    elif arrow.types.is_decimal(kind):
        return arrow.float64() if kind.scale > 0 else arrow.string()
    elif arrow.types.is_nested(kind):
        told = kind
    else:
        return kind
    raise DataError(
        f"{name}: column {field.name}: expected single values of a common type, found {told}; cast "
        "it in the query, for instance to text"
    )


def plain(name: str, field: Any, values: Any) -> Any:
    """An array of a column in its `plain_type`.

    Raises:
        DataError: See `plain_type`; or a time is infinite, of which drivers make a year.
    """
    arrow, kind = arrow_for(name), plain_type(name, field)
    if arrow.types.is_timestamp(kind) or arrow.types.is_date(kind):
        _refuse_infinite(arrow, f"{name}: column {field.name}", values)
    if values.type == kind:
        return values
    if isinstance(values.type, arrow.UuidType):
        return with_uuid_texts(values).dictionary_decode()
    if isinstance(values.type, arrow.BaseExtensionType):
        return values.storage
    return values.cast(kind)


def _refuse_infinite(arrow: Any, place: str, values: Any) -> None:
    """Refuses the numbers that stand for 'infinity', at the ends of their type.

    The driver of PostgreSQL counts from 1970 in the place of 2000 and wraps them, so that numbers
    near the ends count as well. No finite time of a database lies there.
    """
    kind = arrow.int32() if arrow.types.is_date32(values.type) else arrow.int64()
    numbers = values.cast(kind).drop_null().to_numpy().astype(np.float64)
    if len(numbers) and np.abs(numbers).max() >= _INFINITE * 2.0 ** (kind.bit_width - 1):
        raise DataError(
            f"{place}: expected finite times, found infinity; leave such rows out in the query"
        )
