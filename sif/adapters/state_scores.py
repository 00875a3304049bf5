"""A reader of histories as a torch module: histories of items in, scores of all items out.

Readers (`sif.spaces.histories`) are trained by gradient steps and hold the items' embeddings
themselves.
"""

from __future__ import annotations

from torch import Tensor, nn

from sif.spaces.histories.models import HistoryModel


class StateScores(nn.Module):
    """A trained reader with its items, without dropout.

    Args:
        network: The reader. Its weights are shared and left as they are.
    """

    def __init__(self, network: HistoryModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, history: Tensor) -> Tensor:
        """Scores (b, n_items) of histories.

        Args:
            history: int64 (b, length) numbers of items, the earliest first, -1 behind the last.
        """
        network = self.network
        states, table = network.last_states(history.t()), network.embedding.weight
        scoring = network.scoring
        if not scoring.is_product:  # all at once: a graph has no blocks of users
            return scoring.pairs(states[:, None], table) + network.bias
        left, right = scoring.factors(states, table)
        return left @ right.t() + network.bias
