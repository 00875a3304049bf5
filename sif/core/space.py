"""What a search space is to the loops: gates in, loss out, and a genotype at the end.

Spaces never import each other, data readers, or loops; the loops know only these protocols.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from sif.core.gates import Block, Gates
from sif.core.genotype import Genotype

Batch = Any
"""Opaque to the core: made by a stream, understood by the space."""


class Differentiable(Protocol):
    """What a gate gradient needs of a space."""

    def loss(self, batch: Batch, gates: Gates) -> Tensor:
        """Scalar loss of a batch under the gates."""
        ...

    def arch_parameters(self) -> Sequence[nn.Parameter]:
        """Continuous architecture parameters."""
        ...

    def reference_tensor(self) -> Tensor:
        """Any tensor of the device and dtype that the space computes in."""
        ...


class WeightSpace(Protocol):
    """What a weight step needs of a space."""

    def loss(self, batch: Batch, gates: Gates) -> Tensor:
        """Scalar loss of a batch under the gates."""
        ...

    def regularizer(self, gates: Gates) -> Tensor:
        """Scalar penalty on the weights that the gates choose."""
        ...

    def weight_parameters(self) -> Sequence[nn.Parameter]:
        """Parameters trained on the train part."""
        ...


class Space(Protocol):
    """A supernet: every candidate's weights, of which the gates choose.

    Architecture parameters (continuous ones; alphas live in the method) and weight parameters are
    disjoint and together are all parameters of the module that require a gradient.
    """

    name: str
    blocks: tuple[Block, ...]

    def weight_parameters(self) -> Sequence[nn.Parameter]:
        """Parameters trained on the train part."""
        ...

    def arch_parameters(self) -> Sequence[nn.Parameter]:
        """Continuous architecture parameters, trained on the validation part only."""
        ...

    def loss(self, batch: Batch, gates: Gates) -> Tensor:
        """Scalar loss of a batch under the gates.

        With discrete gates only chosen operations enter the graph; gates that require a gradient
        get it, each exactly, through `sif.core.probe`.
        """
        ...

    def regularizer(self, gates: Gates) -> Tensor:
        """Scalar penalty on the weights that the gates choose."""
        ...

    def genotype(self, gates: Gates) -> Genotype:
        """The architecture at the gates, with the continuous parameters as numbers."""
        ...

    def expression(self, genotype: Genotype) -> str:
        """The architecture on one line, for people."""
        ...

    def reference_tensor(self) -> Tensor:
        """Any tensor of the device and dtype that the space computes in."""
        ...

    def module(self) -> nn.Module:
        """Everything that has to be saved."""
        ...


@runtime_checkable
class ReplacementScored(Protocol):
    """A space that can afford the exact loss of each candidate in the active one's place."""

    def replacement_scores(
        self, train: Batch, valid: Batch, gates: Gates, worth: Mapping[str, Tensor] | None = None
    ) -> Mapping[str, Tensor]:
        """Block name to (n_edges, n_ops): the validation loss with that candidate in place.

        As the logarithm of its ratio to the active one's, so that the scale of the loss cancels. A
        candidate that has fallen to 0 in `worth`, the continuous alphas, may be left at 0.
        """
        ...
