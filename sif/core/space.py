"""The protocol of search spaces: gates in, loss out, and a genotype at the end.

Spaces never import each other, data readers, or loops; loops know only these protocols.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from sif.core.gates import Block, Gates
from sif.core.genotype import Genotype

Batch = Any
"""A batch, opaque to the core: a stream makes it, and the space understands it."""


class Stateful(Protocol):
    """An object whose state a checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]:
        """The state that decides all that follows."""
        ...

    def load_state_dict(self, state: Any, /) -> Any:
        """Continues where `state_dict` was taken."""
        ...


class Space(Stateful, Protocol):
    """A supernet, most often a `torch.nn.Module`: every candidate's weights, of which gates choose.

    Architecture parameters (continuous ones; alphas live in the method) and weight parameters are
    disjoint and together are all its parameters that require a gradient.
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
        get it, each exactly, through `sif.core.probe`. The same arguments give the same loss.
        """
        ...

    def regularizer(self, gates: Gates) -> Tensor:
        """Scalar penalty on the weights that the gates choose."""
        ...

    def genotype(self, gates: Gates) -> Genotype:
        """The architecture at the gates, with the continuous parameters as numbers."""
        ...

    def reference_tensor(self) -> Tensor:
        """Any tensor of the device and dtype that the space computes in."""
        ...


@runtime_checkable
class CountsSteps(Protocol):
    """A space that counts the weight steps of each selection."""

    def count_step(self, gates: Gates) -> None:
        """Called after every weight step with its gates."""
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
