"""Served functions: vectors of users, scores of items, and what carries a score.

Two kinds answer alike: interaction functions over tables of vectors, and item-item models that read
a user's history.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from sif.errors import ConfigError, DataError
from sif.recommender.fold_in import FoldIn, Rows
from sif.recommender.fold_in_terms import FoldInTerms
from sif.retrieval.catalogue import HistoryCatalogue
from sif.retrieval.engine import MEMORY, Engine, ItemEngine, UserVectors
from sif.spaces.interaction.embeddings import clip_readout
from sif.spaces.interaction.function import Interaction, InteractionNetwork
from sif.spaces.interaction.operations import field_weights
from sif.spaces.linear.inputs import MAX_SIDE
from sif.spaces.linear.network import OrderNetwork
from sif.spaces.linear.sequences import Sequences

_PAIR_BYTES = 16
"""Bytes of a pair while reasons are looked for."""


class ServedFunction(ABC):
    """Answers about users in the units of training.

    Attributes:
        engine: Best items of users by their vectors.
    """

    engine: ItemEngine

    @abstractmethod
    def known(self, rows: NDArray[np.int64]) -> UserVectors:
        """Vectors of known users (b,)."""

    @abstractmethod
    def folded(self, pairs: sparse.csr_array) -> UserVectors:
        """Vectors of users outside of the tables, from their pairs, CSR (b, n_items).

        Raises:
            DataError: Some user's pairs give no finite vector.
        """

    @abstractmethod
    def neighborhood(self, field: int) -> Tensor:
        """Vectors (n_f, d) of a field's rows, whose cosines tell how alike these are.

        Raises:
            ConfigError: The field's rows have no vectors.
        """

    @abstractmethod
    def carried(self, pairs: sparse.csr_array, item: int) -> NDArray[np.float32]:
        """Share of an item's score that each of a user's pairs (1, n_items) carries, in order."""


class VectorFunction(ServedFunction):
    """An interaction function of user and item.

    Args:
        network: Trained, vectors looked up by id.
        folds: Terms by field that give unseen rows vectors.
        made: What folds rows in, by field, as far as it was made; None: nothing was.
    """

    def __init__(
        self, network: InteractionNetwork, folds: tuple[FoldInTerms, ...],
        made: dict[int, FoldIn] | None = None,
    ) -> None:  # fmt: skip
        self._network, self._folds = network, folds
        self._made = {} if made is None else made
        interaction, precision = network.interaction(), network.tables.precision
        # An interaction has the items in float32.
        self._kept = interaction if precision == "float32" else None
        self.engine: Engine = Engine(interaction, precision=precision)

    @property
    def _interaction(self) -> Interaction:
        return self._network.interaction() if self._kept is None else self._kept

    def known(self, rows: NDArray[np.int64]) -> UserVectors:
        """By look-up."""
        return self.engine.vectors(rows)

    @property
    def _fold(self) -> FoldIn:
        if 0 not in self._made:
            self._made[0] = FoldIn(self._interaction, 0, *self._folds[0])
        return self._made[0]

    def folded(self, pairs: sparse.csr_array) -> UserVectors:
        """By folding in."""
        vectors, biases = self._fold.vectors(pairs)
        sums = vectors.sum(dim=1) + (0 if biases is None else biases)
        invalid = np.flatnonzero(~torch.isfinite(sums).numpy())
        if len(invalid):
            raise DataError(
                f"history {invalid[0]}: expected ratings that give a finite vector, found too "
                "large ones"
            )
        return UserVectors(vectors, biases)

    @torch.no_grad()
    def neighborhood(self, field: int) -> Tensor:
        """The table, a coordinate weighted by the root of what the readout gives to the field."""
        interaction = self._interaction
        table, readout = interaction.table(field), clip_readout(interaction.readout)
        weights = field_weights(interaction.operation, readout, table.shape[1], field)
        return table * weights.sqrt()

    def carried(self, pairs: sparse.csr_array, item: int) -> NDArray[np.float32]:
        """The score less that of the user folded in without the pair."""
        count = pairs.nnz
        step = max(1, MEMORY // (_PAIR_BYTES * max(count, 1)))
        interaction = self._interaction
        whole = _score_of(interaction, self._fold.vectors(pairs), item)
        each = np.zeros(count, np.float32)
        for start in range(0, count, step):
            places = np.arange(start, min(start + step, count))
            each[places] = _score_of(interaction, self._fold.vectors(_without(pairs, places)), item)
        return np.asarray(whole - each, dtype=np.float32)


class HistoryFunction(ServedFunction):
    """An item-item model of ordered histories.

    Args:
        network: With its weights.
        seen: CSR (n_users, n_items); entries tell the order, the larger the later.
    """

    def __init__(self, network: OrderNetwork, seen: sparse.csr_array) -> None:
        self._network, self._seen, self._weights = network, seen, network.served_weights
        width = network.design.scales * network.n_items
        self.engine = ItemEngine(HistoryCatalogue(self._weights), width)

    def known(self, rows: NDArray[np.int64]) -> UserVectors:
        """From what they have."""
        return self.folded(self._seen[rows])

    def folded(self, pairs: sparse.csr_array) -> UserVectors:
        """The decayed history at its end."""
        return UserVectors(self._history(pairs))

    def _history(self, pairs: sparse.csr_array) -> sparse.csr_array:
        return sparse.csr_array(self._network.histories(Sequences.of_places(pairs)))

    def neighborhood(self, field: int) -> Tensor:
        """Of an item the weights with which it speaks for others."""
        if field == 0:
            raise ConfigError(
                "similar users: expected a function of vectors of users, found an item-item model"
            )
        n_items, scales = self._network.n_items, self._network.design.scales
        if not self._weights.size:
            raise ConfigError(
                "similar items: expected a model with vectors or weights of items, found one order "
                "of the items for everybody"
            )
        if scales * n_items**2 > MAX_SIDE**2:
            most = math.isqrt(MAX_SIDE**2 // scales)
            raise ConfigError(
                f"similar items: expected at most {most:,} items in an item-item model of "
                f"{scales} time scales, found {n_items:,}"
            )
        return torch.cat(torch.from_numpy(self._weights.table()).split(n_items), dim=1)

    def carried(self, pairs: sparse.csr_array, item: int) -> NDArray[np.float32]:
        """Its own terms of the score, its age as it is."""
        history = self._history(pairs)
        terms = np.zeros(self._network.n_items, np.float32)
        own = history.data * self._weights.between(history.indices, np.full(history.nnz, item))
        np.add.at(terms, history.indices % self._network.n_items, own)
        found: NDArray[np.float32] = terms[pairs.indices]
        return found


@torch.no_grad()
def _score_of(interaction: Interaction, users: Rows, item: int) -> NDArray[np.float32]:
    """Scores (b,) of users' raw vectors with one item, without the constant."""
    own = interaction.transforms[0](users.vectors)
    scores = interaction.combine_broadcast(own, interaction.table(1)[item])
    biased = scores if users.biases is None else scores + users.biases
    return np.asarray(biased.numpy())


def _without(pairs: sparse.csr_array, places: NDArray[np.int64]) -> sparse.csr_array:
    """A user's pairs (1, n_items) without one of them in each row, that at some place."""
    kept = np.arange(pairs.nnz) != places[:, None]
    others, values = (np.broadcast_to(a, kept.shape)[kept] for a in (pairs.indices, pairs.data))
    indptr = np.arange(len(places) + 1) * (pairs.nnz - 1)
    return sparse.csr_array((values, others, indptr), shape=(len(places), pairs.shape[1]))
