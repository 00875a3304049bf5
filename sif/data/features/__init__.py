"""Features of items and users: tables keyed by id, encoded as sparse rows of numbers."""

from sif.data.features.columns import Column, FeatureKind
from sif.data.features.read import read_features
from sif.data.features.table import Features

__all__ = ["Column", "FeatureKind", "Features", "read_features"]
