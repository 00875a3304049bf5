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
        pairs: (n, 2) int64, distinct and in the order of the users: the model's number of the user,
            and a number in `items`.
    """

    items: Vocabulary = field(default_factory=_no_items)
    pairs: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))

    def joined(self, pairs: NDArray[np.int64], items: Vocabulary) -> Owned:
        """These pairs and further ones (m, 2) of the model's users, with items of a vocabulary."""
        both = self.items.extended(items.ids[self.items.lookup(items.ids) < 0])
        further = np.stack([pairs[:, 0], both.lookup(items.ids)[pairs[:, 1]]], axis=1)
        of_users = self._of(np.unique(further[:, 0]))[0]
        sizes = (int(pairs[:, 0].max(initial=0)) + 1, len(both))
        known = row_keys(self.pairs[of_users], sizes)
        keys, first = np.unique(row_keys(further, sizes), return_index=True)
        fresh = further[first[~np.isin(keys, known)]]
        places = np.searchsorted(self.pairs[:, 0], fresh[:, 0], side="right")
        return Owned(both, np.insert(self.pairs, places, fresh, axis=0))

    def among(
        self, seen: sparse.csr_array, items: Vocabulary, rows: NDArray[np.int64] | None = None
    ) -> sparse.csr_array:
        """A matrix of trained pairs with these as further, stored zeros.

        Args:
            seen: CSR (n_users, n_items), or that of some users (b, n_items); stays as it is.
            items: Of its columns; pairs with other items are left out.
            rows: (b,) the users' numbers; None: all in turn.
        """
        users = np.arange(seen.shape[0]) if rows is None else rows
        pairs, places = self._of(users)
        if not len(pairs):
            return seen
        columns = items.lookup(self.items.ids)[self.pairs[pairs, 1]]
        places, columns = places[columns >= 0], columns[columns >= 0]
        if not len(columns):
            return seen
        trained = seen.tocoo()
        whole = [
            np.concatenate([a, b]) for a, b in zip(trained.coords, (places, columns), strict=True)
        ]
        values = np.append(trained.data, np.zeros(len(columns), trained.data.dtype))
        return sparse.csr_array((values, tuple(whole)), shape=seen.shape)  # equal pairs add up

    def _of(self, users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places of the pairs of some users (b,), user after user, and the place of each's user."""
        begin, end = (np.searchsorted(self.pairs[:, 0], users, side=s) for s in ("left", "right"))
        counts = end - begin
        places = np.repeat(np.arange(len(users)), counts)
        within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        return begin[places] + within, places


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
