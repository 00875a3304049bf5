"""The trained item-item model: histories in, scores of all items out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor, nn

from sif.core.genotype import Genotype
from sif.spaces.linear.compact_weights import CompactWeights
from sif.spaces.linear.design import LinearDesign, linear_design
from sif.spaces.linear.ridge import histories, seen
from sif.spaces.linear.sequences import Sequences
from sif.spaces.linear.weights import ItemWeights
from sif.utils.compact_rows import CompactRows, Precision

REST = ("items", "rest_starts", "rest_items", "rest_values")
"""Names of what only catalogs have in which not all items are solved for: `ItemWeights.items`, and
`ItemWeights.rest` as a CSR."""
OFFSETS = "offsets"
"""Name of `ItemWeights.offsets`, which models have that nothing searched."""
SCALES = "weights_scales"
"""Name of the scales of rounded dense weights (`CompactRows.scales`)."""


class OrderNetwork(nn.Module):
    """Weights of an item-item model, popularity divided out of them.

    Args:
        genotype: The design.
        n_items: Size of the catalog.
        design: Its time scales, where the genotype is of another space.

    Attributes:
        genotype: The design.
        design: Its time scales.
        n_items: Size of the catalog.
        weights: `ItemWeights.dense`, of s scales side by side; of a set s is 1. They are computed
            at once, not trained by steps, and empty until then.

    Raises:
        GenotypeError: Another space or unknown names.
    """

    items: Tensor | None
    offsets: Tensor | None
    weights_scales: Tensor | None

    def __init__(
        self, genotype: Genotype, n_items: int, design: LinearDesign | None = None
    ) -> None:  # fmt: skip
        super().__init__()
        self.genotype, self.n_items = genotype, n_items
        self.design = linear_design(genotype) if design is None else design
        self.weights = nn.Parameter(torch.zeros(0, 0), requires_grad=False)
        for name in (*REST, OFFSETS, SCALES):
            self.register_buffer(name, None)

    @property
    def expression(self) -> str:
        """The model on one line."""
        return self.design.expression

    @property
    def item_weights(self) -> ItemWeights:
        """The weights as arrays in their own memory; made anew of rounded ones."""
        compact = self._compact_weights
        if compact is not None:
            return compact.full()
        return ItemWeights(self.weights.detach().numpy(), self.n_items, *self._further)

    @property
    def served_weights(self) -> ItemWeights | CompactWeights:
        """The weights as they are stored, for scores."""
        return self.item_weights if self._compact_weights is None else self._compact_weights

    @property
    def _compact_weights(self) -> CompactWeights | None:
        if self.weights_scales is None:
            return None
        rows = CompactRows(self.weights.detach(), self.weights_scales)
        return CompactWeights(rows, self.n_items, *self._further)

    @property
    def _further(self) -> tuple[Any, Any, Any]:
        """The parts beside the dense weights: items, rest and offsets."""
        offsets = None if self.offsets is None else self.offsets.numpy()
        if self.items is None:
            return None, None, offsets
        items, starts, columns, values = (getattr(self, name).numpy() for name in REST)
        shape = self.design.scales * self.n_items, self.n_items
        return items, sp.csr_matrix((values, columns, starts), shape), offsets

    @property
    def precision(self) -> Precision:
        """Of the dense weights."""
        compact = self._compact_weights
        return "float32" if compact is None else compact.dense.precision

    def compact(self, precision: Precision) -> OrderNetwork:
        """The same model with rounded dense weights; itself where there is nothing to round.

        Raises:
            ValueError: Weights that are not finite.
        """
        if precision == self.precision or not self.weights.numel():
            return self
        result = copy.copy(self)
        result._parameters, result._buffers = dict(self._parameters), dict(self._buffers)
        rows = CompactRows.of(torch.from_numpy(self.item_weights.dense), precision)
        result.weights = nn.Parameter(rows.codes, requires_grad=False)
        result.weights_scales = rows.scales
        return result

    def take(self, weights: ItemWeights) -> OrderNetwork:
        """Takes weights over, without a copy; itself."""
        state = {"weights": torch.from_numpy(weights.dense)}
        if weights.rest is not None:
            rest = weights.rest
            parts = (weights.items, rest.indptr, rest.indices, rest.data)
            state |= {name: torch.from_numpy(part) for name, part in zip(REST, parts, strict=True)}
        if weights.offsets is not None:
            state[OFFSETS] = torch.from_numpy(weights.offsets)
        self.load_state_dict(state)
        return self

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = True
    ) -> Any:
        """Takes tensors of any size over: the data decided how many items are dense."""
        self.weights = nn.Parameter(state_dict["weights"], requires_grad=False)
        for name in (*REST, OFFSETS, SCALES):
            setattr(self, name, state_dict.get(name))
        return super().load_state_dict(state_dict, strict, assign=True)

    def histories(self, sequences: Sequences) -> sp.csr_matrix:
        """The input of each user at the end of his sequence: CSR (n_users, s * n_items)."""
        decays = self.design.decays
        return histories(sequences, decays) if decays else seen(sequences)
