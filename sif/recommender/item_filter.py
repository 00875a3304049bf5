"""Items that have certain features: `where` of `Recommender.recommend` and of the server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sif.errors import ConfigError
from sif.recommender.model import ServedModel
from sif.utils.argument_types import shown

Mask = NDArray[np.bool_]

MASKS = 256
"""Values of features whose items are kept."""


class ItemFilter:
    """Finds the items that have given values of features.

    Args:
        model: Served.
    """

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self._masks: dict[tuple[str, str], Mask] = {}

    def allowed(self, where: Any, among: Mask | None = None) -> Mask | None:
        """The items that have one of the values of each feature.

        Args:
            where: Names of categories or tags, each with a value or with several; None: all items.
            among: bool (n_items,), items to choose among; None: all.

        Returns:
            bool (n_items,); None: all.

        Raises:
            ConfigError: A model without features of items, or no such mapping.
            DataError: A feature that the model does not have, one of numbers, texts or vectors, or
                a value that no item has.
        """
        if where is None:
            return among
        if not isinstance(where, Mapping):
            raise ConfigError(
                f'where: expected names of features with values, such as {{"kind": ["tea"]}}, '
                f"found {shown(where)}"
            )
        found = among
        for name, values in where.items():
            mask = self._having(str(name), values)
            found = mask if found is None else found & mask
        return found

    def _having(self, name: str, values: Any) -> Mask:
        """The items that have one of some values of a feature."""
        model = self._model
        if model.item_features is None:
            raise ConfigError(
                "where: expected a model with features of items, found one without: fit with "
                "item_features"
            )
        found = np.zeros(len(model.vocabularies[1]), np.bool_)
        several = isinstance(values, Iterable) and not isinstance(values, str)
        for value in map(str, values if several else [values]):
            mask = self._masks.get((name, value))
            if mask is None:
                mask = model.item_features.having(name, value, model.vocabularies[1])
                if len(self._masks) >= MASKS:
                    self._masks.clear()
                self._masks[name, value] = mask
            found |= mask
        return found
