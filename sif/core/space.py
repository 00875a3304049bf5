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
    """A supernet, most often a `torch.nn.Module`: the weights of all candidates of its blocks.

    Its parameters that require a gradient are either weights or continuous architecture parameters
    (P and Q of SIF), never both. Alpha is none of them: it belongs to the method.
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
        """Scalar loss of a batch under the gates; the same arguments give the same loss.

        With discrete gates only the selected operations enter the graph; gates that require a
        gradient get it through `sif.core.probe`.
        """
        ...

    def regularizer(self, gates: Gates) -> Tensor:
        """Scalar penalty on the weights of the selected operations."""
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
        """Counts a weight step; called after each with its gates."""
        ...


@runtime_checkable
class ReplacementScored(Protocol):
    """A space that can afford to evaluate each candidate in the place of the selected one."""

    def replacement_scores(
        self, train: Batch, valid: Batch, gates: Gates, alpha: Mapping[str, Tensor] | None = None, /
    ) -> Mapping[str, Tensor]:
        """Block name to (n_edges, n_ops): log(error with the candidate / error of the selection).

        The error is the validation loss, or 1 / NDCG where losses cannot be compared. The batch
        `train` may fit readouts. Where `alpha` is 0, a score may be left at 0 to save time.
        """
        ...


@runtime_checkable
class Rewarded(Protocol):
    """A space that rewards selections, for methods of reinforcement learning."""

    def rewarded(self, batch: Batch, gates: Gates) -> tuple[Tensor, Tensor]:
        """Loss of a batch at discrete gates, and the reward, the higher the better; scalars."""
        ...
