"""Features for files of other programs: plain values of a table, checked as a fit checks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sif.data.features.columns import column_cells
from sif.data.features.plain import PlainColumn, PlainFeatures, plain_cells
from sif.data.features.read import frame_of, split_ids
from sif.data.features.table import Features


def plain_features(source: Any, role: str, kinds: Mapping[str, str] | None = None) -> PlainFeatures:
    """The values of a table of features.

    Args:
        source: As of `sif.data.features.read_features`.
        role: "item" or "user".
        kinds: As there; columns that are to be ignored are left out.

    Raises:
        DataError: For the reasons of `read_features`.
    """
    frame, place = frame_of(source, f"{role} features")
    features, ids = split_ids(frame, role, None, place)
    known = Features.of(features, ids, kinds, place)
    columns = tuple(
        PlainColumn(one.name, one.kind, plain_cells(one.kind, column_cells(features[one.name])))
        for one in known.columns
    )
    return PlainFeatures(role, known.vocabulary.ids, columns)
