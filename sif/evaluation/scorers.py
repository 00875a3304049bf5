"""Scores of a trained interaction network as arrays, for evaluation and recommendation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sif.data.interactions.interactions import Interactions
from sif.errors import ConfigError
from sif.evaluation.cold_start import ColdStartRule
from sif.evaluation.histories import Reader, sequences_of
from sif.retrieval.engine import Engine
from sif.spaces.interaction.function import Interaction
from sif.spaces.linear.compact_weights import CompactWeights
from sif.spaces.linear.sequences import Sequences
from sif.spaces.linear.weights import ItemWeights

PREDICTED = 1 << 18
"""Pairs whose vectors are gathered at once."""
READ = 1 << 14
"""Pairs whose users' histories are read at once."""


@dataclass(frozen=True)
class Scale:
    """Standardization of targets: rating = mean + deviation * score. Fitted on train alone."""

    mean: float = 0.0
    deviation: float = 1.0


class InteractionScorer:
    """Scores of an interaction function over its tables, as they stand.

    Args:
        interaction: Two fields (user, item) for `scores`, any number for `predict`.
        scale: Back to rating units, for `predict`.
        cold_start: For users and items that were not trained.
    """

    def __init__(
        self,
        interaction: Interaction,
        scale: Scale = Scale(),
        cold_start: ColdStartRule | None = None,
    ) -> None:
        self.interaction, self.scale, self.cold_start = interaction, scale, cold_start
        self._engine = Engine(interaction) if len(interaction.vectors) == 2 else None

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of all items: users (b,) to (b, n_items) float32, higher is better.

        Raises:
            ConfigError: The function has more fields than user and item.
        """
        if self._engine is None:
            raise ConfigError(
                f"scores of all items: expected a function of 2 fields, "
                f"found {len(self.interaction.vectors)}"
            )
        scores = self._engine.scores(self._engine.vectors(users))
        if self.cold_start is None:
            return scores
        return self.cold_start.applied(scores, self.cold_start.cold_users[users])

    @torch.no_grad()
    def predict(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Ratings (b,) float32 in rating units for ids (b, k); not clipped."""
        rows = torch.as_tensor(ids, dtype=torch.int64, device=self.interaction.readout.device)
        scores = torch.cat([self.interaction.pairs(part) for part in rows.split(PREDICTED)])
        ratings: NDArray[np.float32] = (
            (self.scale.mean + self.scale.deviation * scores).cpu().numpy()
        )
        return ratings


class HistoryScorer:
    """Scores of an item-item model from histories, which are read for the users that are asked for.

    Args:
        read: Makes inputs of histories.
        sequences: The histories.
        weights: Of the model.
        cold_start: For users and items that were not trained.
    """

    def __init__(
        self, read: Reader, sequences: Sequences, weights: ItemWeights | CompactWeights,
        cold_start: ColdStartRule | None = None,
    ) -> None:  # fmt: skip
        self._read, self.weights, self.cold_start = read, weights, cold_start
        self._sequences = sequences

    def knowing(self, rows: Interactions) -> HistoryScorer:
        """The same model where users have these rows alone."""
        return HistoryScorer(self._read, sequences_of(rows), self.weights, self.cold_start)

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of all items: users (b,) to (b, n_items) float32, higher is better."""
        scores = self.weights.scores(self._read(self._sequences.of_users(users)))
        if self.cold_start is None:
            return scores
        return self.cold_start.applied(scores, self.cold_start.cold_users[users])

    def predict(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (b,) float32 of pairs of user and item: ids (b, 2)."""
        starts = range(0, len(ids), READ)
        parts = [self._predicted(ids[start : start + READ]) for start in starts]
        return np.concatenate([np.zeros(0, np.float32), *parts])

    def _predicted(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of a few pairs, whose users' histories are read once."""
        users, place = np.unique(ids[:, 0], return_inverse=True)
        rows = self._read(self._sequences.of_users(users))[place]
        pair = np.repeat(np.arange(len(ids)), np.diff(rows.indptr))
        terms = rows.data * self.weights.between(rows.indices, ids[pair, 1])
        scores = np.bincount(pair, terms, len(ids)).astype(np.float32)
        offsets = self.weights.offsets
        return scores if offsets is None else scores + offsets[ids[:, 1]]


@dataclass(frozen=True, eq=False)
class FixedHistories:
    """A scorer whose histories stay those that it was fitted on.

    Attributes:
        scorer: At those.
    """

    scorer: HistoryScorer

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of all items: users (b,) to (b, n_items) float32, higher is better."""
        return self.scorer.scores(users)
