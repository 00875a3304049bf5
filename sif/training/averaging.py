"""Averages of weights over the last steps of a training, once validation stalls.

NT-ASGD (Merity, Keskar & Socher, ICLR 2018, section 3): once the validation loss is worse than the
best of all but the last n validations, averaging begins, and the averaged weights are evaluated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_swa_avg_fn


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
        # One formula on every device; by itself a GPU gets one that rounds differently.
        self.average = AveragedModel(network, avg_fn=get_swa_avg_fn()).requires_grad_(False)
        self.judged: Tensor
        self.register_buffer("judged", torch.zeros(0, dtype=torch.float64))

    def begun(self) -> bool:
        """True once there is an average."""
        return bool(self.average.n_averaged > 0)

    def note(self) -> None:
        """Adds the current weights to the average, if it was begun."""
        if self.begun():
            self.average.update_parameters(self.network)

    def judge(self, loss: float) -> None:
        """Takes the loss of a validation; begins the average if the rule says so."""
        before = self.judged[: -self.patience] if self.patience else self.judged[:0]
        self.judged = torch.cat([self.judged, self.judged.new_tensor([loss])])
        if not self.begun() and len(before) > 0 and loss > float(before.min()):
            self.average.update_parameters(self.network)

    def evaluated(self) -> nn.Module:
        """The network to evaluate: the average once begun, else the one that trains."""
        network: nn.Module = self.average.module if self.begun() else self.network
        return network

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        # The list of validations grows, and torch asks for equal shapes.
        self.judged = self.judged.new_zeros(state_dict[f"{prefix}judged"].shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)
