"""Running statistics of batch normalisations, estimated anew."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def recalibrated(network: nn.Module) -> Iterator[None]:
    """What passes through the network within the block sets the statistics of its normalisations.

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
