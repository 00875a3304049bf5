"""Labeled images in memory, and their tensors on a device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sif.data.interactions.parts import place_in_group
from sif.errors import DataError, ShapeError
from sif.utils.digest import digest

Int64Array = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one size with a class each.

    Attributes:
        name: Of the data set, for messages.
        pixels: (n, h, w, c) uint8, c either 1 or 3.
        labels: (n,) int64 in 0..len(classes) - 1.
        classes: Names by number.
        test: (n,) bool, true in the official test part; None if the data have none.
        notes: Changes of the data, one line each.

    Raises:
        ShapeError: Shapes, types or labels do not fit each other.
    """

    name: str
    pixels: Pixels
    labels: Int64Array
    classes: tuple[str, ...]
    test: Mask | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape, n = self.pixels.shape, len(self.pixels)
        if self.pixels.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3):
            raise ShapeError(
                f"{self.name}: pixels: expected uint8 (n, h, w, 1 or 3),"
                f" found {self.pixels.dtype} {shape}"
            )
        for what, array, kind in (("labels", self.labels, np.int64), ("test", self.test, np.bool_)):
            if array is not None and (array.dtype != kind or array.shape != (n,)):
                raise ShapeError(
                    f"{self.name}: {what}: expected {np.dtype(kind)} ({n},),"
                    f" found {array.dtype} {array.shape}"
                )
        if n and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise ShapeError(
                f"{self.name}: labels: expected numbers in 0..{len(self.classes) - 1},"
                f" found {self.labels.min()}..{self.labels.max()}"
            )

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, c) of every image."""
        return self.pixels.shape[1], self.pixels.shape[2], self.pixels.shape[3]

    @cached_property
    def content_hash(self) -> str:
        """16 hex digits over class names, shape, labels, the test part and all pixels."""
        return digest(self.classes, self.shape, self.labels, self.test, self.pixels)

    def select(self, rows: Int64Array) -> Images:
        """The given rows under the same classes."""
        test = None if self.test is None else self.test[rows]
        return replace(self, pixels=self.pixels[rows], labels=self.labels[rows], test=test)

    def tensors(self, device: torch.device) -> ImageTensors:
        """All images on a device; on the CPU they share memory with `pixels`."""
        pixels = torch.from_numpy(np.ascontiguousarray(self.pixels)).to(device)
        return ImageTensors(pixels, torch.from_numpy(self.labels).to(device))


@dataclass(frozen=True, eq=False)
class ImageTensors:
    """Images on a device, one tensor for all parts.

    Attributes:
        pixels: (n, h, w, c) uint8: channels last, as networks of convolutions like them.
        labels: (n,) int64.
    """

    pixels: Tensor
    labels: Tensor


def first_of_each(labels: Int64Array, test: Mask | None, most: int) -> Int64Array:
    """Rows that keep at most so many images of each class and part, the first ones."""
    group = labels * 2 + (0 if test is None else test)
    place, _ = place_in_group(group, np.argsort(group, kind="stable"))
    return np.flatnonzero(place < most)


def with_channels(pixels: Pixels, channels: int | None, where: str) -> Pixels:
    """Pixels (..., 1 or 3) with another number of channels; None keeps them.

    Gray is repeated; colors become their luma (ITU-R 601), rounded as Pillow rounds it.
    """
    if channels is None or channels == pixels.shape[-1]:
        return pixels
    check_channels(channels, where)
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    weights = np.array([19595, 38470, 7471], dtype=np.uint32)  # of 65536
    luma = (pixels.astype(np.uint32) @ weights + 0x8000) >> 16
    return luma.astype(np.uint8)[..., None]


def check_channels(channels: int, where: str) -> None:
    """Raises DataError unless there are 1 or 3 channels."""
    if channels not in (1, 3):
        raise DataError(f"{where}: channels: expected 1 (gray) or 3 (colors), found {channels}")
