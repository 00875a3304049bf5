"""Common parts of supernets of interaction functions: candidates under gates, their scores.

`GatedFunction` is a supernet at its gates; `GatedInteraction` has an interaction for each operation
of a block, and `gated` takes any candidates. `fitted_loss` judges a candidate in place of the
active one where its own readout would underrate it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from sif.core.gates import Gates
from sif.core.probe import Candidate, gated_output
from sif.spaces.interaction.function import Interaction
from sif.spaces.interaction.losses import Batch, Loss, LossSettings
from sif.spaces.interaction.operations import Factors
from sif.spaces.interaction.pair_products import PairGraph

FIT_ROWS = 8192
"""Train rows that a readout fit reads at most; d is tens, so more rows change nothing."""
RIDGE = 1e-3
"""Ridge of the readout fits, relative to the mean square of the features."""


class RidgeFitted(Interaction):
    """An interaction whose readout and constant come from ridge regression on given rows."""

    def __init__(self, base: Interaction, ids: Tensor, target: Tensor, weight: Tensor) -> None:
        super().__init__(base.tables, base.transforms, base.operation, base.readout)
        features = self.features(ids)
        design = torch.cat([features, torch.ones_like(target)[:, None]], dim=1).double()
        weighted = design * weight.double()[:, None]
        gram = weighted.T @ design
        gram.diagonal().add_(RIDGE * gram.diagonal().mean() + 1e-12)
        rest = (target - base.tables.offset(ids)).double()
        solution = torch.linalg.solve(gram, weighted.T @ rest).to(features.dtype)
        self._weights, self._constant = solution[:-1], solution[-1]

    def interact(self, ids: Tensor, observed: bool = False) -> Tensor:
        """The fitted readout and constant at ids (n, k): (n,)."""
        fitted: Tensor = self.features(ids, observed) @ self._weights + self._constant
        return fitted

    def factors(self) -> Factors | None:
        """None, whatever the operation."""
        return None  # candidates are compared on the same drawn combinations


def gated(gates: Gates, block: str, candidates: Sequence[Candidate]) -> Tensor:
    """Output of a block of one edge: the active candidate's, the others probed, or the mixture.

    There is a candidate per operation, which computes its output when it is called.
    """
    active = None if gates.active is None else gates.active[block][0]
    return gated_output(gates.weights[block][0], active, candidates, gates.running(block))


class GatedFunction(ABC):
    """A supernet at its gates, which scores pairs.

    At a discrete point it is the chosen function, unless gates require a gradient: then, and for
    relaxed gates, scores are those of all candidates under the gates, which no encoder knows.
    """

    def __init__(self, gates: Gates) -> None:
        self._gates = gates
        probed = any(w.requires_grad for w in gates.weights.values())
        self.plain = None if probed or gates.active is None else self.chosen()

    @abstractmethod
    def chosen(self) -> Interaction:
        """The function of a discrete point; ShapeError for relaxed gates."""

    @abstractmethod
    def mixed_pairs(self, ids: Tensor) -> Tensor:
        """Scores (n,) at ids (n, k) of all candidates under the gates."""

    def pairs(self, ids: Tensor, observed: bool = False) -> Tensor:
        """Scores (n,) at ids (n, k); `observed` as in `Interaction.pairs`."""
        return self.plain.pairs(ids, observed) if self.plain else self.mixed_pairs(ids)

    @property
    def is_factorized(self) -> bool:
        """True if the chosen function is a product; never for mixtures."""
        return self.plain is not None and self.plain.is_factorized

    @property
    def uses_history(self) -> bool:
        """True if the chosen function has encoders that know its pairs; never for mixtures."""
        return self.plain is not None and self.plain.uses_history

    def factors(self) -> Factors | None:
        """Factors of the chosen function; None for mixtures."""
        return self.plain.factors() if self.plain else None

    def on_graph(self, graph: PairGraph) -> Tensor:
        """Scores (n,) at a graph's pairs."""
        return self.plain.on_graph(graph) if self.plain else self.mixed_pairs(graph.ids())

    def own_on_graph(self, graph: PairGraph) -> Tensor | None:
        """The part of scores (n,) that the graph's pairs contributed; None for nothing."""
        return self.plain.own_on_graph(graph) if self.plain else None


class GatedInteraction(GatedFunction):
    """Interactions, one per operation, under the gates of one block.

    With gates that require a gradient these are probed: all of them, or those that the gates'
    `probing` names, on all rows.

    Args:
        interactions: One per operation of the block; other gates may be at work inside them.
        gates: Of the space.
        block: Name of the block, of one edge.
    """

    def __init__(self, interactions: Sequence[Interaction], gates: Gates, block: str) -> None:
        self._interactions, self._block = interactions, block
        super().__init__(gates)

    def chosen(self) -> Interaction:
        """The function of a discrete point; ShapeError for relaxed gates."""
        return self._interactions[self._gates.choices()[self._block][0]]

    def mixed_pairs(self, ids: Tensor) -> Tensor:
        """Scores (n,) at ids (n, k)."""
        candidates = [partial(interaction.pairs, ids) for interaction in self._interactions]
        return gated(self._gates, self._block, candidates)


def fitted_loss(
    interaction: Interaction, loss: Loss, settings: LossSettings, train: Batch, valid: Batch
) -> float:
    """Loss of a validation batch with the readout that fits the train batch's full target best.

    In closed form, on detached features, so that a function is not judged through an untrained
    readout. Losses that are no squares take the readout as it is.
    """
    if len(train.background) == 0 and train.negatives.shape[1]:
        # A least-squares readout has the wrong scale for a logistic loss.
        return float(loss(interaction, valid, settings))
    ids, target, weight = train.least_squares(settings.positive_weight)
    rows = slice(None, None, -(-len(ids) // FIT_ROWS))
    fitted = RidgeFitted(interaction, ids[rows], target[rows], weight[rows])
    return max(float(loss(fitted, valid, settings)), torch.finfo(torch.float32).tiny)
