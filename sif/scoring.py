"""Scores of a trained interaction network as arrays, for evaluation and recommendation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sif.cold import Fallback
from sif.errors import ConfigError
from sif.spaces.interaction import Interaction, InteractionNetwork

_CHUNK_ELEMENTS = 1 << 20
"""Users x items x dimensions held at once by functions that do not factor: 4 MB stays in cache."""


@dataclass(frozen=True)
class Scale:
    """How targets were standardised: rating = mean + deviation * score. Fitted on train alone."""

    mean: float = 0.0
    deviation: float = 1.0


class FunctionScorer:
    """Scores of an interaction function over its tables, as they stand.

    Args:
        interaction: Two fields (user, item) for `scores`, any number for `predict`.
        scale: Back to rating units, for `predict`.
        fallback: What `scores` says of users and items that were not trained.
    """

    def __init__(
        self, interaction: Interaction, scale: Scale = Scale(), fallback: Fallback | None = None
    ) -> None:
        self.interaction, self.scale, self.fallback = interaction, scale, fallback
        self._device = interaction.readout.device
        with torch.no_grad():
            self._factors = interaction.factors()

    @torch.no_grad()
    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of all items: users (b,) to (b, n_items) float32, higher is better.

        Raises:
            ConfigError: The function has more fields than user and item.
        """
        fields = len(self.interaction.vectors)
        if fields != 2:
            raise ConfigError(
                f"scores of all items: expected a function of 2 fields, found {fields}"
            )
        scores = self._scores(users)
        return scores if self.fallback is None else self.fallback.applied(scores, users)

    def _scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = torch.as_tensor(users, device=self._device)
        if self._factors is not None:
            a, b = self._factors
            return (a[rows] @ b.T).cpu().numpy()
        n_items, dimension = self.interaction.vectors[1].table.shape
        step = max(1, _CHUNK_ELEMENTS // (n_items * dimension))
        parts = [self._chunk(rows[i : i + step]) for i in range(0, max(len(rows), 1), step)]
        return torch.cat(parts).cpu().numpy()

    def _chunk(self, rows: torch.Tensor) -> torch.Tensor:
        user, item = self.interaction.table(0), self.interaction.table(1)
        scores = self.interaction.combine_broadcast(user[rows][:, None, :], item[None, :, :])
        tables = self.interaction.tables
        for bias, index in zip(tables.biases, (rows[:, None], slice(None)), strict=False):
            scores = scores + bias[index]
        return scores + tables.intercept

    @torch.no_grad()
    def predict(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Ratings (b,) float32 in rating units for ids (b, k); not clipped."""
        scores = self.interaction.pairs(torch.as_tensor(ids, device=self._device))
        ratings: NDArray[np.float32] = (
            (self.scale.mean + self.scale.deviation * scores).cpu().numpy()
        )
        return ratings


class InteractionScorer(FunctionScorer):
    """Scores of a network as it stands: make a new one after further training.

    Args:
        network: See `FunctionScorer`, as the other arguments.
        scale: Back to rating units.
        fallback: For users and items that were not trained.
    """

    def __init__(
        self,
        network: InteractionNetwork,
        scale: Scale = Scale(),
        fallback: Fallback | None = None,
    ) -> None:
        super().__init__(network.interaction(), scale, fallback)
        self.network = network
