"""Colors of whole batches."""

from __future__ import annotations

import torch
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601


def jittered(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Changes brightness, then contrast, then saturation by factors (n,), each clamped to [0, 1].

    Images are (n, 1 or 3, h, w) in [0, 1]. Saturation has no effect on gray ones.
    """
    factors = torch.stack([brightness, contrast, saturation]).to(images, non_blocking=True)
    factors = factors[..., None, None, None]
    images = (images * factors[0]).clamp(0, 1)
    mean = _gray(images).mean(dim=(1, 2, 3), keepdim=True)
    images = (mean + (images - mean) * factors[1]).clamp(0, 1)
    gray = _gray(images)
    return (gray + (images - gray) * factors[2]).clamp(0, 1)


def hue_shifted(images: Tensor, shift: Tensor) -> Tensor:
    """Shifts hues along the color circle; value and saturation in HSV stay, and so does gray.

    Exact HSV rather than a rotation about the gray axis, because that is what the published
    recipes use (torchvision's ColorJitter), and because its results stay within [0, 1]. Images are
    (n, 1 or 3, h, w) in [0, 1], shifts (n,) shares of the circle: 1/3 makes red green.
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(dim=1)
    high, low = images.amax(dim=1), images.amin(dim=1)
    chroma = high - low
    above = torch.where(chroma > 0, chroma, 1.0)  # gray has no hue: any will do
    hue = torch.where(
        red == high,
        (green - blue) / above,
        torch.where(green == high, 2 + (blue - red) / above, 4 + (red - green) / above),
    )
    shift = shift.to(images, non_blocking=True)
    hue = hue + 6 * shift[:, None, None]  # in sixths of the circle
    # Each channel has its value for two sixths, falls for one, is at its lowest for two, rises.
    phase = torch.stack([hue + 5, hue + 3, hue + 1], dim=1) % 6
    depth = torch.minimum(phase, 4 - phase).clamp(0, 1)
    return high[:, None] - chroma[:, None] * depth


def _gray(images: Tensor) -> Tensor:
    """(n, c, h, w) to (n, 1, h, w)."""
    if images.shape[1] == 1:
        return images
    luma = torch.tensor(_LUMA, dtype=images.dtype).to(images.device, non_blocking=True)
    return (images * luma[:, None, None]).sum(dim=1, keepdim=True)
