"""The trained item-item model: histories in, scores of all items out."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import nn

from sif.core.genotype import Genotype
from sif.spaces.linear.design import linear_design
from sif.spaces.linear.ridge import histories, seen
from sif.spaces.linear.sequences import Sequences


class OrderNetwork(nn.Module):
    """Weights of an item-item model, popularity divided out of them.

    Args:
        genotype: The design.
        n_items: Size of the catalog.

    Attributes:
        genotype: The design.
        design: Its time scales.
        weights: float32 (s * n_items, n_items) of s scales side by side; of a set s is 1. They are
            computed at once, not trained by steps.

    Raises:
        GenotypeError: Another space or unknown names.
    """

    def __init__(self, genotype: Genotype, n_items: int) -> None:
        super().__init__()
        self.genotype, self.design = genotype, linear_design(genotype)
        rows = n_items * self.design.scales
        self.weights = nn.Parameter(torch.zeros(rows, n_items), requires_grad=False)

    @property
    def n_items(self) -> int:
        """Size of the catalog."""
        return self.weights.shape[1]

    @property
    def table(self) -> NDArray[np.float32]:
        """The weights as an array in their own memory."""
        return np.asarray(self.weights.detach().numpy())

    def histories(self, sequences: Sequences) -> sp.csr_matrix:
        """The input of each user at the end of his sequence: CSR (n_users, s * n_items)."""
        decays = self.design.decays
        return histories(sequences, decays) if decays else seen(sequences)
