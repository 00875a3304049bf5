"""Rows and targets of the parts of a problem."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from sif.data.features.table import Features
from sif.data.interactions import Interactions
from sif.errors import DataError
from sif.evaluation.scorers import Scale
from sif.spaces.linear.features import FeatureRows, column_groups


def known_rows(train: Interactions, valid: Interactions) -> Interactions:
    """Validation rows whose ids all occur in the train part; all rows where there is no such row.

    The rest meets embeddings that nothing trained, which says nothing of a function.
    """
    counts = [np.bincount(train.ids[:, f], minlength=n) for f, n in enumerate(train.sizes)]
    met = np.all([c[valid.ids[:, f]] > 0 for f, c in enumerate(counts)], axis=0)
    return valid.select(met) if met.any() else valid


def feature_rows(part: Interactions, field: int = 1) -> FeatureRows | None:
    """Features of all items (field 1) or users (0) of a part; None where it has none."""
    features = part.item_features if field else part.user_features
    if features is None:
        return None
    return rows_of_table(features, features.aligned(part.vocabularies[field]))


def rows_of_table(table: Features, rows: csr_array) -> FeatureRows:
    """Rows (b, m) of a table of features, which knows its columns."""
    groups = column_groups([(column.start, column.stop) for column in table.columns])
    return FeatureRows(csr_matrix(rows), groups)


def scale_of(part: Interactions, objective: str) -> Scale:
    """The standardization of targets, fitted on a train part; DataError for equal ratings."""
    if objective != "rating":
        return Scale()
    values = ratings_of(part)
    deviation = float(values.std())
    if deviation == 0:
        raise DataError("train part: rating: expected two different values, found only one")
    return Scale(float(values.mean()), deviation)


def ratings_of(part: Interactions) -> NDArray[np.float64]:
    """Ratings (n,); DataError where there are none."""
    if part.rating is None:
        raise DataError("objective rating: expected a rating column, found none")
    return part.rating.astype(np.float64)
