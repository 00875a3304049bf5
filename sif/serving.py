"""Answers of a served model in numbers of its vocabularies: best items, neighbours, reasons."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch.nn import functional as F

from sif import fold
from sif.engine import Engine, Top, UserVectors
from sif.errors import ConfigError
from sif.served import ServedModel
from sif.spaces.tables import bounded
from sif.topk import top_k

Mask = NDArray[np.bool_]
CHUNK = 256
"""Rows scored at a time where all others are looked at."""
Rows = NDArray[np.int64]


def best(scores: NDArray[np.float32], k: int) -> Top:
    """The best k of each row of (b, n) scores, ties to the lowest; -1 where nothing is left."""
    values, places = top_k(torch.from_numpy(scores), min(k, scores.shape[1]), block=1)
    items, found = places.numpy(), values.numpy()
    more = ((0, 0), (0, k - items.shape[1]))  # k may exceed what there is
    items, found = np.pad(items, more), np.pad(found, more, constant_values=-np.inf)
    return Top(np.where(np.isneginf(found), -1, items), found)


class Serving:
    """A model of user and item with its engine.

    Args:
        model: Served.

    Attributes:
        fallback: The rule for untrained users and items that answers are under; None: none.

    Raises:
        ConfigError: A model of other fields.
    """

    def __init__(self, model: ServedModel) -> None:
        if len(model.fields) != 2:
            raise ConfigError(
                f"recommend: expected a model of user and item alone, found one of "
                f"{', '.join(model.fields)}; use predict"
            )
        self.model = model
        self.engine = Engine(model.network.interaction())
        self.fallback = model.rule

    @cached_property
    def padded(self) -> tuple[NDArray[np.str_], ...]:
        """Ids by number, per field, and behind them "" for the number -1."""
        ids = (np.asarray(v.ids, dtype=np.str_) for v in self.model.vocabularies)
        return tuple(np.append(names, "") for names in ids)

    def refuse_unpersonal(self) -> None:
        """Raises ConfigError where the function ranks items alike for everybody."""
        if self.model.objective == "ranking" and not self.engine.personal:
            raise ConfigError(
                f"recommend: {self.model.expression} ranks items alike for all users; search with "
                "another space or operation, or recommend the popular"
            )

    def top(
        self, rows: Rows, k: int, excluded: sparse.csr_array | None = None,
        allowed: Mask | None = None,
    ) -> Top:  # fmt: skip
        """Best items of known users (b,); cold ones get the popular."""
        found = self._top(self.engine.vectors(rows), k, excluded, allowed)
        if self.fallback is None:
            return found
        return self.fallback.with_popular(found, self.fallback.cold_users[rows], excluded, allowed)

    def top_of(
        self, pairs: sparse.csr_array, k: int, excluded: sparse.csr_array | None = None,
        allowed: Mask | None = None,
    ) -> Top:  # fmt: skip
        """Best items of users who are in no table, from what they have (b, n_items)."""
        folded = self.model.fold(0).rows(pairs)
        found = self._top(UserVectors(*folded), k, excluded, allowed)
        if self.fallback is None:
            return found
        return self.fallback.with_popular(found, self.fallback.bare(pairs), excluded, allowed)

    def _top(
        self, users: UserVectors, k: int, excluded: sparse.csr_array | None, allowed: Mask | None
    ) -> Top:
        if self.fallback is not None:
            allowed = self.fallback.servable(allowed)
        found = self.engine.top(users, k, excluded=excluded, allowed=allowed)
        scale = self.model.scale
        return Top(found.items, (scale.mean + scale.deviation * found.scores).astype(np.float32))

    def scores(self, rows: Rows) -> NDArray[np.float32]:
        """All scores (b, n_items) of known users (b,), in rating units for models of ratings.

        Under the rule of `sif.cold`: minus infinity where an item is never recommended.
        """
        found = self._scaled(self.engine.vectors(rows))
        if self.fallback is None:
            return found
        return self.fallback.applied(found, self.fallback.cold_users[rows])

    def scores_of(self, pairs: sparse.csr_array) -> NDArray[np.float32]:
        """The same of users who are in no table, from what they have (b, n_items)."""
        found = self._scaled(UserVectors(*self.model.fold(0).rows(pairs)))
        if self.fallback is None:
            return found
        return self.fallback.applied(found, self.fallback.bare(pairs))

    def _scaled(self, users: UserVectors) -> NDArray[np.float32]:
        scale = self.model.scale
        found: NDArray[np.float32] = scale.mean + scale.deviation * self.engine.scores(users)
        return found.astype(np.float32, copy=False)

    @torch.no_grad()
    def cosines(self, field: int, rows: Rows) -> NDArray[np.float32]:
        """Cosines (b, n_f) of weighted vectors of rows (b,) of a field with all of its rows."""
        interaction = self.model.network.interaction()
        table = interaction.table(field)
        weight = bounded(interaction.readout).abs().sqrt()
        unit = F.normalize(table * weight[: table.shape[1]], dim=1)
        return np.asarray((unit[torch.from_numpy(rows)] @ unit.T).numpy())

    def similar(self, field: int, rows: Rows, k: int) -> Top:
        """Nearest rows of the same field by the cosine of weighted vectors, themselves left out."""
        chunks = []
        for start in range(0, max(len(rows), 1), CHUNK):
            some = rows[start : start + CHUNK]
            scores = self.cosines(field, some)
            scores[np.arange(len(some)), some] = -np.inf
            chunks.append(best(scores, k))
        return Top(*(np.concatenate([getattr(c, n) for c in chunks]) for n in ("items", "scores")))

    def explained(self, pairs: sparse.csr_array, item: int) -> NDArray[np.float32]:
        """What each of a user's pairs (1, n_items) carries of an item's score, in its order.

        The score less that of the user folded in without the pair.
        """
        folding, count = self.model.fold(0), pairs.nnz
        kept = ~np.eye(count, dtype=bool)
        others = np.tile(pairs.indices, (count, 1))[kept]
        values = np.tile(pairs.data, (count, 1))[kept]
        indptr = np.arange(count + 1) * (count - 1)
        without = sparse.csr_array((values, others, indptr), shape=(count, pairs.shape[1]))
        whole = self._score_of(folding.rows(pairs), item)
        parts = [
            self._score_of(folding.rows(without[i : i + CHUNK]), item)
            for i in range(0, count, CHUNK)
        ]
        each = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        carried: NDArray[np.float32] = (self.model.scale.deviation * (whole - each)).astype("f4")
        return carried

    @torch.no_grad()
    def _score_of(self, users: fold.Rows, item: int) -> NDArray[np.float32]:
        """Scores (b,) of users' raw vectors with one item, but for the constant."""
        interaction = self.model.network.interaction()
        own = interaction.transforms[0](users.vectors)
        scores = interaction.combine_broadcast(own, interaction.table(1)[item])
        found = scores if users.biases is None else scores + users.biases
        return np.asarray(found.numpy())
