"""Averages of weights over the last steps of a training, once validation stalls.

NT-ASGD (Merity, Keskar & Socher, ICLR 2018, section 3): once the validation loss is worse than the
best of all but the last n validations, averaging begins, and the averaged weights are evaluated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class Averaged(nn.Module):
    """A network and the average of its weights; the state dict holds both.

    Args:
        network: Trains; without buffers, which no average would follow between its steps.
        patience: n of the rule; None: it never begins.
    """

    def __init__(self, network: nn.Module, patience: int | None) -> None:
        super().__init__()
        self.network = network
        self.patience = patience
        self.average = AveragedModel(network).requires_grad_(False)
        self._count: int | None = 0
        self.judged: Tensor
        self.register_buffer("judged", torch.zeros(0, dtype=torch.float64))

    def begun(self) -> bool:
        """True once there is an average."""
        return self._averaged > 0

    @property
    def _averaged(self) -> int:
        """Weights in the average; the device is asked only after a state was loaded."""
        if self._count is None:
            self._count = int(self.average.n_averaged)
        return self._count

    def note(self) -> None:
        """Adds the current weights to the average, if it was begun."""
        if self.begun():
            self._add()

    @torch.no_grad()
    def _add(self) -> None:
        """Adds the weights; `AveragedModel` itself would wait for the device at every step."""
        count = self._averaged
        means = self.average.module.parameters()
        for mean, now in zip(means, self.network.parameters(), strict=True):
            mean.copy_(mean + (now - mean) / (count + 1) if count else now)
        self.average.n_averaged += 1
        self._count = count + 1

    def judge(self, loss: float) -> None:
        """Takes the loss of a validation; begins the average if the rule says so."""
        before = self.judged[: -self.patience] if self.patience else self.judged[:0]
        self.judged = torch.cat([self.judged, self.judged.new_tensor([loss])])
        if not self.begun() and len(before) > 0 and loss > float(before.min()):
            self._add()

    def evaluated(self) -> nn.Module:
        """The network to evaluate: the average once begun, else the one that trains."""
        network: nn.Module = self.average.module if self.begun() else self.network
        return network

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        # The list of validations grows, and torch asks for equal shapes.
        self.judged = self.judged.new_zeros(state_dict[f"{prefix}judged"].shape)
        self._count = None
        super()._load_from_state_dict(state_dict, prefix, *rest)
