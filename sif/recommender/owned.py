"""Owned items without training: pairs of user and item that filters dropped.

Kept apart from the trained pairs, so that neither training nor folding in sees them, while answers
leave the items out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sif.config.cf import ExcludeSeen
from sif.data.interactions import Vocabulary
from sif.data.interactions.interactions import row_keys


def _no_items() -> Vocabulary:
    return Vocabulary(np.zeros(0, dtype="U1"))


@dataclass(frozen=True, eq=False)
class Owned:
    """Pairs of a model's users and items that were dropped.

    Attributes:
        items: Ids of the items; the model may have no row for some.
        pairs: (n, 2) int64, distinct: the model's number of the user, and a number in `items`.
    """

    items: Vocabulary = field(default_factory=_no_items)
    pairs: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))

    def joined(self, pairs: NDArray[np.int64], items: Vocabulary) -> Owned:
        """These pairs and further ones (m, 2) of the model's users, with items of a vocabulary."""
        both, _ = Vocabulary.from_values(np.concatenate([self.items.ids, items.ids]))
        known, further = (
            np.stack([some[:, 0], both.index(names.ids)[some[:, 1]]], axis=1)
            for some, names in ((self.pairs, self.items), (pairs, items))
        )
        whole = np.concatenate([known, further])
        sizes = (int(whole[:, 0].max(initial=0)) + 1, len(both))
        _, first = np.unique(row_keys(whole, sizes), return_index=True)
        return Owned(both, whole[first])

    def among(self, seen: sparse.csr_array, items: Vocabulary) -> sparse.csr_array:
        """A matrix of trained pairs (n_users, n_items) with these as further, stored zeros.

        Args:
            seen: Stays as it is.
            items: Of its columns; pairs with other items are left out.
        """
        columns = items.lookup(self.items.ids)[self.pairs[:, 1]]
        users, columns = self.pairs[columns >= 0, 0], columns[columns >= 0]
        if not len(columns):
            return seen
        trained = seen.tocoo()
        places = [
            np.concatenate([a, b]) for a, b in zip(trained.coords, (users, columns), strict=True)
        ]
        values = np.append(trained.data, np.zeros(len(columns), trained.data.dtype))
        return sparse.csr_array((values, tuple(places)), shape=seen.shape)  # equal pairs add up


class History(NamedTuple):
    """The items of somebody who is in no table.

    Attributes:
        pairs: CSR (b, n_items) of targets, from which vectors are made.
        had: The same shape; stores whatever the history names.
    """

    pairs: sparse.csr_array
    had: sparse.csr_array

    def excluded(self, how: ExcludeSeen) -> sparse.csr_array | None:
        """The items that answers leave out: CSR (b, n_items); None: none."""
        return {"all": self.had, "trained": self.pairs, "none": None}[how]
