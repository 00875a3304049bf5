"""Geometry of whole batches: crops a rotated box of every image, resized to the image's size.

Crop and rotation are one affine map, so that pixels are interpolated once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

RATIOS = (3 / 4, 4 / 3)
"""Width over height of a crop in pixels; these and the tries are those of torchvision's
RandomResizedCrop, which took the ratios from GoogLeNet (Szegedy et al., CVPR 2015)."""

TRIES = 10
"""Draws of area and ratio before the central box is taken."""


def drawn_boxes(
    n: int, height: int, width: int, scale: float, generator: torch.Generator
) -> Tensor:
    """Boxes of random resized crops, as torchvision draws them but not rounded to pixels.

    The area is uniform in [scale, 1] of the image, the ratio log-uniform in `RATIOS`, the place
    uniform. Of `TRIES` draws the first that fits counts; if none does, the largest central box
    whose ratio is within `RATIOS`. All tries are drawn, so that one batch uses as many numbers as
    any other.

    Returns:
        (n, 4) float64 on the CPU: top, left, height and width as shares of the image's sides.
    """
    own = width / height
    low, high = (math.log(ratio) for ratio in RATIOS)
    draws = torch.rand(TRIES, 2, n, generator=generator, dtype=torch.float64)
    area = scale + (1 - scale) * draws[:, 0]
    ratio = torch.exp(low + (high - low) * draws[:, 1])
    sides = torch.stack((area * own / ratio, area * ratio / own), dim=-1).sqrt()
    fits = (sides <= 1).all(dim=-1)
    fitted = fits.any(dim=0)[:, None]
    nearest = min(max(own, RATIOS[0]), RATIOS[1])
    largest = sides.new_tensor((min(1.0, own / nearest), min(1.0, nearest / own)))
    first = fits.int().argmax(dim=0)
    sides = torch.where(fitted, sides[first, torch.arange(n)], largest)
    place = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    return torch.cat((torch.where(fitted, place, 0.5) * (1 - sides), sides), dim=1)


def warped(images: Tensor, boxes: Tensor, degrees: Tensor) -> Tensor:
    """Rotated boxes of images (n, c, h, w), resized to the image's size; bilinear, black outside.

    A box (n, 4), see `drawn_boxes`, rotates about its own center, so that its content rotates the
    other way, counter-clockwise by degrees (n,): the image is rotated, then cropped.
    """
    height, width = images.shape[2:]
    top, left, tall, wide = boxes.unbind(dim=1)
    angle = torch.deg2rad(degrees.to(boxes))
    cosine, sine = angle.cos(), angle.sin()
    # From x, y of the result to x, y of the image, each in [-1, 1]; the angle is one of pixels.
    rows = (
        (cosine * wide, -sine * tall * (height / width), 2 * left + wide - 1),
        (sine * wide * (width / height), cosine * tall, 2 * top + tall - 1),
    )
    maps = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    maps = maps.to(images, non_blocking=True)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    # padding_mode "zeros" would mix black into the outermost half pixel of the image, which a
    # small crop spreads over a visible rim. As in Pillow, only what is read outside is black.
    rotated = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    outside = (grid.abs() > 1).any(dim=-1)
    return rotated.masked_fill(outside[:, None], 0.0)


def randomly_warped(
    images: Tensor, scale: float, rotate: float, generator: torch.Generator
) -> Tensor:
    """Random resized crops of images (n, c, h, w), then rotations uniform in ± `rotate` degrees.

    What is not asked for (scale 1, rotate 0) is not drawn. The generator is on the CPU.
    """
    if scale == 1 and not rotate:
        return images
    n, _, height, width = images.shape
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64).expand(n, 4)
    if scale < 1:
        boxes = drawn_boxes(n, height, width, scale, generator)
    degrees = torch.zeros(n)
    if rotate:
        degrees = rotate * (2 * torch.rand(n, generator=generator) - 1)
    return warped(images, boxes, degrees)
