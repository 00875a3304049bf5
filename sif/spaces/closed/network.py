"""The network of a closed form, which is served like any other item-item model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor

from sif.core.genotype import Genotype
from sif.spaces.closed.design import closed_design
from sif.spaces.closed.family import AnyWeights
from sif.spaces.closed.filters import ChebyshevFilter
from sif.spaces.closed.weights import Chebyshev, FilterWeights, Powers
from sif.spaces.linear.design import LinearDesign
from sif.spaces.linear.network import OrderNetwork

SIDES = ("enters", "leaves", "first", "second")
"""Names of scales and factors that every filter has (`FilterWeights`)."""
PASSES = ("coefficients", "clicks_starts", "clicks_items", "clicks_values")
"""Those of its polynomial and of the scaled clicks as a CSR, where it has them."""


class ClosedNetwork(OrderNetwork):
    """Weights of a closed form, dense or those of a filter.

    Args:
        genotype: The design, with its constants.
        n_items: Size of the catalog.

    Raises:
        GenotypeError: Another space, family or constants.
    """

    enters: Tensor | None

    def __init__(self, genotype: Genotype, n_items: int) -> None:
        self.family = closed_design(genotype)
        super().__init__(genotype, n_items, LinearDesign(()))
        for name in (*SIDES, *PASSES):
            self.register_buffer(name, None)

    @property
    def expression(self) -> str:
        """The model on one line."""
        return self.family.expression

    @property
    def item_weights(self) -> AnyWeights:  # type: ignore[override]
        """The weights as arrays in their own memory."""
        if self.enters is None:
            return super().item_weights
        parts = {name: getattr(self, name) for name in (*SIDES, *PASSES)}
        enters, leaves, first, second = (parts[name].numpy() for name in SIDES)
        if parts["coefficients"] is None:
            return FilterWeights(self.n_items, None, None, enters, leaves, (first, second))
        top, *factors = parts["coefficients"].tolist()
        kind = Chebyshev if isinstance(self.family, ChebyshevFilter) else Powers
        starts, items, values = (parts[name].numpy() for name in PASSES[1:])
        rows = sp.csr_matrix((values, items, starts), (len(starts) - 1, self.n_items))
        function = kind(top, tuple(factors))
        return FilterWeights(self.n_items, rows, function, enters, leaves, (first, second))

    def take(self, weights: AnyWeights) -> ClosedNetwork:
        """Takes weights over, without a copy; itself."""
        if not isinstance(weights, FilterWeights):
            super().take(weights)
            return self
        arrays = (weights.enters, weights.leaves, *weights.sides)
        state = dict(zip(SIDES, map(torch.from_numpy, arrays), strict=True))
        if weights.rows is not None and weights.polynomial is not None:
            numbers = torch.tensor(weights.polynomial.coefficients, dtype=torch.float64)
            rows = (weights.rows.indptr, weights.rows.indices, weights.rows.data)
            state |= zip(PASSES, (numbers, *map(torch.from_numpy, rows)), strict=True)
        self.load_state_dict({"weights": torch.zeros(0, 0), **state})
        return self

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = True
    ) -> Any:
        """Takes tensors of any size over: the data decided on them."""
        for name in (*SIDES, *PASSES):
            setattr(self, name, state_dict.get(name))
        return super().load_state_dict(state_dict, strict, assign)


def item_item_network(genotype: Genotype, n_items: int) -> OrderNetwork:
    """A network without weights, of whichever kind a genotype is.

    Args:
        genotype: Of a closed form, of a model in order, or of one that nothing searched.
        n_items: Size of the catalog.

    Raises:
        GenotypeError: None of these.
    """
    kind = ClosedNetwork if genotype.space == "closed" else OrderNetwork
    return kind(genotype, n_items)
