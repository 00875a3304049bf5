"""Types that only databases have, as types that every reader knows."""

from __future__ import annotations

import uuid
from typing import Any

from sif.data.databases.base import arrow_for
from sif.errors import DataError


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
    """An array of a column in its `plain_type`; errors as there."""
    arrow, kind = arrow_for(name), plain_type(name, field)
    if values.type == kind:
        return values
    if isinstance(values.type, arrow.UuidType):
        return _uuids(arrow, values.storage)
    if isinstance(values.type, arrow.BaseExtensionType):
        return values.storage
    return values.cast(kind)


def _uuids(arrow: Any, storage: Any) -> Any:
    """Texts of identifiers of 16 bytes, each written once."""
    coded = storage.dictionary_encode()
    texts = [str(uuid.UUID(bytes=cell)) for cell in coded.dictionary.to_pylist()]
    return arrow.array(texts, arrow.string()).take(coded.indices)
