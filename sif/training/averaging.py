"""Averages of weights over the last steps of a training, begun when validation stalls.

NT-ASGD (Merity, Keskar & Socher, ICLR 2018, section 3): once the validation loss is worse than the
best of all but the last n validations, the average of the weights from there on is what evaluates.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn


class Averaged(nn.Module):
    """A network whose average evaluates once it was begun; all of it is in its state dict.

    Args:
        network: Trains.
        patience: n of the rule; None: it never begins.
    """

    def __init__(self, network: nn.Module, patience: int | None) -> None:
        super().__init__()
        self.network = network
        self.patience = patience
        self.steps: Tensor
        self.judged: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("judged", torch.zeros(0, dtype=torch.float64))
        for name, parameter in network.named_parameters():
            self.register_buffer(_key(name), torch.zeros_like(parameter))

    def begun(self) -> bool:
        """Whether there is an average."""
        return bool(self.steps > 0)

    @torch.no_grad()
    def note(self) -> None:
        """Takes the weights as they are into the average, if it was begun."""
        if not self.begun():
            return
        self.steps += 1
        for name, parameter in self.network.named_parameters():
            average = cast(Tensor, getattr(self, _key(name)))
            average.add_((parameter - average) / self.steps)

    @torch.no_grad()
    def judge(self, loss: float) -> None:
        """Hears of a validation; begins the average where the rule says so."""
        before = self.judged[: -self.patience] if self.patience else self.judged[:0]
        stalled = not self.begun() and len(before) > 0 and loss > float(before.min())
        self.judged = torch.cat([self.judged, self.judged.new_tensor([loss])])
        if stalled:
            self.steps += 1
            for name, parameter in self.network.named_parameters():
                cast(Tensor, getattr(self, _key(name))).copy_(parameter)

    def weights(self) -> dict[str, Tensor]:
        """Parameters of the network by name: the average once begun, else as they are."""
        found = dict(self.network.named_parameters())
        if self.begun():
            found = {name: cast(nn.Parameter, getattr(self, _key(name))) for name in found}
        return {name: value.detach() for name, value in found.items()}

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        # The list of validations grows, and torch asks for equal shapes.
        self.judged = self.judged.new_zeros(state_dict[f"{prefix}judged"].shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)


@contextlib.contextmanager
def swapped(network: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """The network with other values of its parameters within the block, and its own after it."""
    parameters = dict(network.named_parameters())
    own = {name: value.detach().clone() for name, value in parameters.items()}
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in own.items():
                parameters[name].copy_(value)


def _key(name: str) -> str:
    """A parameter's name as one of a buffer, which has no dots."""
    return "average_" + name.replace(".", "__")


@contextlib.contextmanager
def recalibrated(network: nn.Module) -> Iterator[None]:
    """What passes through the network within the block sets the statistics of its normalizations.

    They become plain means over all passes. A supernet's statistics are of no use to a network that
    is cut out of it: other operations fed them.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    training = network.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
    network.train()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
