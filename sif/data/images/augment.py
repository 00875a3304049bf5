"""Normalization and augmentation of whole batches on the device.

Random numbers are drawn on the CPU and then moved, so that every device sees the same crops. The
order is fixed: crop, flip, resized crop, rotation, brightness, contrast, saturation, hue,
normalize, cut out. All keep labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sif.data.images.color import hue_shifted, jittered
from sif.data.images.dataset import Images, Int64Array
from sif.data.images.warp import randomly_warped
from sif.errors import DataError


@dataclass(frozen=True)
class Augmentation:
    """Changes to training images, each with its own draw; settings are checked in `sif.config.cnn`.

    Attributes:
        pad: Black pixels around an image, out of which a crop of its old size is taken.
        flip: Whether half of the images are mirrored left to right.
        cutout: Side of a square of zeros, in pixels; its center is uniform over the image and it
            ends at the border (DeVries and Taylor, 2017; as in DARTS).
        brightness: Pixels times a factor within 1 ± this.
        contrast: Distance to the image's mean gray times a factor within 1 ± this.
        saturation: Distance to the pixel's gray times a factor within 1 ± this.
        scale: Smallest share of an image's area out of which a crop is resized to its old size,
            by a ratio in `warp.RATIOS`; 1: no such crop.
        rotate: Degrees by which an image turns at most, either way; black comes in at its corners.
        hue: Share of the color circle by which hues shift at most, either way; 0.5 is all of it.
    """

    pad: int = 0
    flip: bool = False
    cutout: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    scale: float = 1.0
    rotate: float = 0.0
    hue: float = 0.0


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel of the train part, pixels scaled to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def channel_statistics(images: Images, rows: Int64Array) -> Statistics:
    """Exact statistics over the rows of the train part; channels that never vary have deviation 1.

    Raises:
        DataError: There are no rows.
    """
    if not len(rows):
        raise DataError(f"{images.name}: expected images to take statistics of, found none")
    values = np.arange(256) / 255
    mean, std = [], []
    for channel in range(images.shape[2]):
        counts = np.zeros(256, dtype=np.int64)
        for start in range(0, len(rows), 4096):
            some = images.pixels[rows[start : start + 4096], :, :, channel]
            counts += np.bincount(some.reshape(-1), minlength=256)
        share = counts / counts.sum()
        center = float(share @ values)
        mean.append(center)
        std.append(float(np.sqrt(share @ (values - center) ** 2)) or 1.0)
    return Statistics(tuple(mean), tuple(std))


def shifted(pixels: Tensor, top: Tensor, left: Tensor, flip: Tensor, pad: int) -> Tensor:
    """Crops out of images (n, h, w, c) with zeros around them, some of them mirrored.

    Rows `top` and columns `left` (n,), in 0..2 pad, begin the crop in the padded image; those of
    `flip` (n,) are mirrored.
    """
    n, height, width, _ = pixels.shape
    rows = torch.arange(height, device=pixels.device) + (top[:, None] - pad)
    columns = torch.arange(width, device=pixels.device) + (left[:, None] - pad)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    inside = ((rows >= 0) & (rows < height))[:, :, None]
    inside = inside & ((columns >= 0) & (columns < width))[:, None, :]
    image = torch.arange(n, device=pixels.device)[:, None, None]
    places = (rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :])
    return pixels[image, places[0], places[1]] * inside[..., None]


def cut_out(images: Tensor, y: Tensor, x: Tensor, side: int) -> Tensor:
    """Zeros in a square of images (n, c, h, w) around rows y and columns x (n,), within the border.

    The square has the rows y - side // 2 to below y - side // 2 + side, and columns alike.
    """
    rows = torch.arange(images.shape[2], device=images.device) - (y[:, None] - side // 2)
    columns = torch.arange(images.shape[3], device=images.device) - (x[:, None] - side // 2)
    hit = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None]
    return images.masked_fill(hit[:, None], 0.0)


@dataclass(frozen=True)
class Preparation:
    """Pixels to what a network reads; images that are evaluated have no augmentation.

    Below float32, everything up to the result is computed in float32.
    """

    statistics: Statistics
    augmentation: Augmentation | None = None
    dtype: torch.dtype = torch.float32

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Pixels (n, h, w, c) uint8 to (n, c, h, w) of `dtype`, channels last in memory.

        The generator is on the CPU and not used without augmentation.
        """
        chosen = self.augmentation or Augmentation()
        pixels = _moved(pixels, chosen, generator)
        working = torch.float64 if self.dtype == torch.float64 else torch.float32
        images = pixels.permute(0, 3, 1, 2).to(working) / 255
        images = randomly_warped(images, chosen.scale, chosen.rotate, generator)
        images = _colored(images, chosen, generator)
        numbers = torch.tensor(list(vars(self.statistics).values()), dtype=working)
        mean, std = numbers[..., None, None].to(images.device, non_blocking=True)
        images = (images - mean) / std
        if chosen.cutout:
            n, _, *sides = images.shape
            drawn = torch.stack([torch.randint(side, (n,), generator=generator) for side in sides])
            y, x = drawn.to(images.device, non_blocking=True)
            images = cut_out(images, y, x, chosen.cutout)
        return images.to(self.dtype, memory_format=torch.channels_last)


def _moved(pixels: Tensor, chosen: Augmentation, generator: torch.Generator) -> Tensor:
    if not chosen.pad and not chosen.flip:
        return pixels
    n, device = len(pixels), pixels.device
    corners = torch.randint(2 * chosen.pad + 1, (2, n), generator=generator)
    top, left = corners.to(device, non_blocking=True)
    flip = torch.rand(n, generator=generator) < 0.5 if chosen.flip else torch.zeros(n).bool()
    return shifted(pixels, top, left, flip.to(device, non_blocking=True), chosen.pad)


def _colored(images: Tensor, chosen: Augmentation, generator: torch.Generator) -> Tensor:
    n = len(images)
    strengths = torch.tensor([chosen.brightness, chosen.contrast, chosen.saturation])
    if strengths.any():
        drawn = 2 * torch.rand(3, n, generator=generator) - 1
        brightness, contrast, saturation = 1 + strengths[:, None] * drawn
        images = jittered(images, brightness, contrast, saturation)
    if chosen.hue:
        shift = chosen.hue * (2 * torch.rand(n, generator=generator) - 1)
        images = hue_shifted(images, shift)
    return images
