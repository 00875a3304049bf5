"""Operations of convolutional cells: one table of names, aliases, factories and costs.

Definitions as in DARTS (Liu et al., ICLR 2019, appendix A.1.1) and the code of NASP: ReLU, then
convolutions, then batch normalization; separable convolutions twice; pooling followed by
normalization in a supernet only. Names are those of DARTS, or of NASP where DARTS has none; the
other dialect's spelling is an alias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sif.errors import ConfigError, GenotypeError
from sif.utils.registry import unknown

SKIP = "skip_connect"


@dataclass(frozen=True)
class Normalization:
    """Batch normalization after every operation, otherwise with PyTorch's defaults, as in DARTS.

    Attributes:
        affine: Whether it scales and shifts by weights; not in a supernet, where they would do what
            gates do (DARTS, appendix A.1.1).
        running: Whether it keeps statistics for evaluation; not in a supernet, whose operations
            see other inputs after every change of the selection.
    """

    affine: bool = True
    running: bool = True

    def __call__(self, channels: int) -> nn.BatchNorm2d:
        """The layer."""
        return nn.BatchNorm2d(channels, affine=self.affine, track_running_stats=self.running)


Make = Callable[[int, int, Normalization], nn.Module]


@dataclass(frozen=True)
class CNNOperation:
    """A candidate operation of a cell.

    Attributes:
        name: In genotypes.
        make: (channels, stride, norm) to the module, (n, channels, h, w) to (n, channels,
            h / stride, w / stride).
        aliases: Other spellings in published genotypes.
        pooling: Whether it has no weights but moves information between positions; a supernet
            normalizes it, so that its scale is that of the convolutions.
    """

    name: str
    make: Make
    aliases: tuple[str, ...] = ()
    pooling: bool = False


def relu_conv(
    c_in: int, c_out: int, kernel: int, stride: int, norm: Normalization
) -> nn.Sequential:
    """ReLU, a dense convolution that keeps the size (over the stride), normalization."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, norm(c_out))


def _depthwise(
    channels: int, kernel: int, stride: int, dilation: int, norm: Normalization
) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    spread = nn.Conv2d(
        channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
    )
    mixed = nn.Conv2d(channels, channels, 1, bias=False)
    return [nn.ReLU(), spread, mixed, norm(channels)]


def _separable(kernel: int, channels: int, stride: int, norm: Normalization) -> nn.Module:
    first = _depthwise(channels, kernel, stride, 1, norm)
    return nn.Sequential(*first, *_depthwise(channels, kernel, 1, 1, norm))


def _dilated(kernel: int, channels: int, stride: int, norm: Normalization) -> nn.Module:
    return nn.Sequential(*_depthwise(channels, kernel, stride, 2, norm))


def _dense(kernel: int, channels: int, stride: int, norm: Normalization) -> nn.Module:
    return relu_conv(channels, channels, kernel, stride, norm)


def _row_column(kernel: int, channels: int, stride: int, norm: Normalization) -> nn.Module:
    """A row and then a column of a convolution, each with its share of the stride."""
    half = kernel // 2
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, (1, kernel), (1, stride), (0, half), bias=False),
        nn.Conv2d(channels, channels, (kernel, 1), (stride, 1), (half, 0), bias=False),
        norm(channels),
    )


class FactorizedReduce(nn.Module):
    """Half the size, by two 1 x 1 convolutions of every other pixel, the second shifted by one.

    Raises:
        ConfigError: An odd number of channels `c_out` that go out.
    """

    def __init__(self, c_in: int, c_out: int, norm: Normalization) -> None:
        super().__init__()
        if c_out % 2:
            raise ConfigError(f"channels: expected an even number, found {c_out}")
        self.relu = nn.ReLU()
        # Every other pixel is taken by a slice and not by the stride: the backward pass of strided
        # 1 x 1 convolutions with few channels in channels-last layout writes beyond its workspace
        # on CPUs (oneDNN issue 6035, torch 2.13).
        self.first = nn.Conv2d(c_in, c_out // 2, 1, bias=False)
        self.second = nn.Conv2d(c_in, c_out // 2, 1, bias=False)
        self.norm = norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, h, w), h and w even, to (n, c_out, h / 2, w / 2)."""
        x = self.relu(x)
        halves = self.first(x[:, :, ::2, ::2]), self.second(x[:, :, 1::2, 1::2])
        out = torch.cat(halves, dim=1)
        return cast(Tensor, self.norm(out))


def _skip(channels: int, stride: int, norm: Normalization) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, norm)


def _max_pool(kernel: int, channels: int, stride: int, norm: Normalization) -> nn.Module:
    return nn.MaxPool2d(kernel, stride, kernel // 2)


def _avg_pool(kernel: int, channels: int, stride: int, norm: Normalization) -> nn.Module:
    return nn.AvgPool2d(kernel, stride, kernel // 2, count_include_pad=False)


_TABLE = (
    CNNOperation(SKIP, _skip),
    CNNOperation("max_pool_3x3", partial(_max_pool, 3), pooling=True),
    CNNOperation("max_pool_5x5", partial(_max_pool, 5), pooling=True),
    CNNOperation("max_pool_7x7", partial(_max_pool, 7), pooling=True),
    CNNOperation("avg_pool_3x3", partial(_avg_pool, 3), pooling=True),
    CNNOperation("conv_1x1", partial(_dense, 1), ("conv 1x1",)),
    CNNOperation("conv_3x3", partial(_dense, 3), ("conv 3x3",)),
    CNNOperation("conv_3x1_1x3", partial(_row_column, 3)),
    CNNOperation("conv_7x1_1x7", partial(_row_column, 7)),
    CNNOperation("sep_conv_3x3", partial(_separable, 3), ("sep_3x3",)),
    CNNOperation("sep_conv_5x5", partial(_separable, 5), ("sep_5x5",)),
    CNNOperation("sep_conv_7x7", partial(_separable, 7), ("sep_7x7",)),
    CNNOperation("dil_conv_3x3", partial(_dilated, 3)),
    CNNOperation("dil_conv_5x5", partial(_dilated, 5)),
)
OPERATIONS = {operation.name: operation for operation in _TABLE}
ALIASES = {alias: o.name for o in _TABLE for alias in (o.name, *o.aliases)}


def canonical(name: str) -> str:
    """The table's name of an operation in either dialect; GenotypeError for an unknown one."""
    if name not in ALIASES:
        raise unknown("operation", name, OPERATIONS, GenotypeError)
    return ALIASES[name]


def parameters(module: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def multiply_adds(module: nn.Module, shape: Sequence[int]) -> int:
    """Multiply-adds of the convolutions and linear maps for one input (c, h, w).

    Normalization, pooling and additions are not counted, as usual in this field (DARTS, appendix
    A.3). The module runs once, in evaluation mode and without a graph.
    """
    training = module.training
    like = next(module.parameters(), torch.empty(0))
    try:
        module.eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(torch.zeros(1, *shape, device=like.device, dtype=like.dtype))
    finally:
        module.train(training)
    total: int = counter.get_total_flops()
    return total // 2  # it counts multiplications and additions apart
