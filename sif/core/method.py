"""The protocol of search methods, and the optimizer of continuous architecture parameters.

Every method trains a space's continuous architecture parameters, such as P and Q of SIF, alike:
they descend on validation data while the weights descend on train data (Yao et al., WWW 2020,
section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from sif.core.bounds import CostBound
from sif.core.gates import Gates, Selection
from sif.core.space import Batch, Space, Stateful


@dataclass(frozen=True)
class ArchReport:
    """Loss and scores of one architecture step.

    Attributes:
        loss: Loss of the validation batch.
        scores: Kind of score ("gradient", "replacement_loss") to block name to (n_edges, n_ops).
    """

    loss: float
    scores: dict[str, dict[str, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The length of a search, and the step sizes that are not alpha's.

    Attributes:
        steps: Weight steps in all.
        warmup: Number of first weight steps that train all operations in turn. It says what trains;
            alpha may move meanwhile.
        resting: Number of first weight steps before the first architecture step.
        lr: First step size of the weights.
        continuous_lr: Adam step size of continuous architecture parameters, such as P and Q.
        bounds: On the costs of the selection that the search returns.
        objectives: Number of objectives beside the error.
    """

    steps: int
    warmup: int = 0
    resting: int = 0
    lr: float = 0.025
    continuous_lr: float = 3e-3
    bounds: tuple[CostBound, ...] = ()
    objectives: int = 0


@runtime_checkable
class Method(Stateful, Protocol):
    """Says which gates each weight step trains, and which selection is best so far."""

    def weight_gates(self, step: int) -> Gates:
        """Gates that weight step number `step` trains: discrete, or a mixture."""
        ...

    def best_gates(self) -> Gates:
        """The best selection so far, as discrete gates: the result if the search ended now."""
        ...

    def alpha(self) -> dict[str, Tensor]:
        """Block name to (n_edges, n_ops), for logs and figures."""
        ...


@runtime_checkable
class LearnsArchitecture(Method, Protocol):
    """A method that learns from validation batches while it searches."""

    def arch_step(self, space: Space, train: Batch, valid: Batch) -> ArchReport:
        """One step of the architecture on `valid`; `train` is the next weight step's batch."""
        ...


@runtime_checkable
class ChoosesAtEnd(Method, Protocol):
    """A method that compares candidates at the end, with the weights that the search trained."""

    @property
    def candidates(self) -> int:
        """Number of candidates that `choose` compares."""
        ...

    def choose(self, error: Callable[[Gates], float]) -> None:
        """Keeps the candidate of least error on the validation part; infinite: no time was left."""
        ...


@runtime_checkable
class Proposes(Method, Protocol):
    """A method that knows several promising selections, of which a finish trains each alone."""

    def proposals(self, most: int) -> Sequence[Selection]:
        """Different selections, the best first, `most` at most.

        Where there are fewer, those of the largest sums of `alpha` follow.
        """
        ...


@runtime_checkable
class AskTell(Stateful, Protocol):
    """A sampler: it proposes selections, each of which is trained alone with new weights."""

    def ask(self) -> Selection | None:
        """The selection to train next, the same until `tell` has its result; None: no more."""
        ...

    def tell(self, selection: Selection, error: float, cost: float) -> None:
        """Takes the result of training a selection.

        Args:
            selection: The selection that `ask` gave.
            error: On the validation part, the lower the better; infinite if training diverged.
            cost: Of the selection, the sum of its `Block.costs`.
        """
        ...


@runtime_checkable
class AsksAhead(AskTell, Protocol):
    """A sampler that knows some selections before it is told of those that come first.

    They may be trained side by side. It is told of them in the order of `ask`.
    """

    def ahead(self, most: int) -> Sequence[Selection]:
        """The next selections that `ask` will give, whatever is told of those before them.

        The first is that of `ask` itself; none where it is None. An `AsksLength` asks for the same
        length of them all.

        Args:
            most: Largest number of selections, from 1.
        """
        ...


@runtime_checkable
class AsksLength(AskTell, Protocol):
    """A sampler that says how long the selection that it asks for is to train.

    It may ask for one again with a longer training, which goes on from where the former stopped. A
    length that the selection has reached already is answered at once by its last result.
    """

    def share(self) -> float:
        """Length in all of the training that `ask` asks for, as a share of a whole one, up to 1.

        It is rounded to epochs, one at least. The end of the budget may cut the last one short.
        """
        ...

    def open(self) -> Collection[Selection]:
        """The told selections that it may ask for again: only their trainings are kept."""
        ...


@runtime_checkable
class TakesSeconds(AskTell, Protocol):
    """A sampler that learns from the time that trainings take."""

    def took(self, selection: Selection, seconds: float) -> None:
        """Takes the time of a training, just before `tell` has its result.

        Args:
            selection: The selection that `ask` gave.
            seconds: CPU time of its training and its judgment.
        """
        ...


@runtime_checkable
class TakesObjectives(AskTell, Protocol):
    """A sampler that searches by further objectives than the error."""

    def measured(self, selection: Selection, values: Sequence[float], excess: float) -> None:
        """Takes the values of a selection, just before `tell` has its result.

        Args:
            selection: The selection that `ask` gave.
            values: Of the objectives beside the error, in the order of `search.objectives`.
            excess: How far they exceed their bounds, as a share; 0: they keep them.
        """
        ...


class ArchParameters:
    """Adam on a space's continuous architecture parameters; does nothing if it has none.

    Args:
        space: Gives the parameters.
        lr: Step size.
    """

    def __init__(self, space: Space, lr: float) -> None:
        self.parameters: list[nn.Parameter] = list(space.arch_parameters())
        self._optimizer = torch.optim.Adam(self.parameters, lr=lr) if self.parameters else None

    def descend(self, gradient: Sequence[Tensor]) -> None:
        """One step along the given gradient, one tensor per parameter."""
        if self._optimizer is None:
            return
        for parameter, grad in zip(self.parameters, gradient, strict=True):
            parameter.grad = grad
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def step(self, space: Space, valid: Batch, gates: Gates) -> float:
        """One step on a validation batch at discrete gates; returns the loss before it."""
        loss = space.loss(valid, gates)
        parameters = self.parameters
        grads = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        self.descend(grads)
        return float(loss.detach())

    def state_dict(self) -> dict[str, Any] | None:
        """The state of the optimizer; the parameters belong to the space."""
        return self._optimizer.state_dict() if self._optimizer else None

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Continues where `state_dict` was taken."""
        if self._optimizer is not None and state is not None:
            self._optimizer.load_state_dict(state)
