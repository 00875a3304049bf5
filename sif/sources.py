"""Where batches of images come from, whether the images lie on the device or on disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sif.config.cnn import AugmentationConfig
from sif.core.stream import Stream
from sif.data.images import (
    Augmentation,
    FolderImages,
    FolderStream,
    Images,
    ImageStream,
    Preparation,
    Statistics,
    channel_statistics,
    folder_batches,
    image_batches,
)
from sif.spaces.cnn.supernet import ImageBatch
from sif.utils.device import Runtime
from sif.utils.random import generator

Rows = NDArray[np.int64]

IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Of images that stay on disk: those of ImageNet's train part, as everybody normalises it."""

GREY = Statistics((0.449,), (0.226,))
"""Means of the three channels' numbers in `IMAGENET`, for grey images on disk."""


class Source(Protocol):
    """Images, wherever they lie, as batches on the device."""

    images: Images | FolderImages

    def preparation(self, rows: Rows, augment: AugmentationConfig | None) -> Preparation:
        """Normalisation by some rows, the train part, and augmentation where it is given."""
        ...

    def stream(self, rows: Rows, batch_size: int, prepare: Preparation, *names: str) -> Stream:
        """Endless batches of some rows, in an order of the named random stream."""
        ...

    def batches(self, rows: Rows, batch_size: int, prepare: Preparation) -> Iterator[ImageBatch]:
        """One pass over some rows."""
        ...


class _InMemory:
    def __init__(self, images: Images, runtime: Runtime) -> None:
        self.images: Images | FolderImages = images
        self._images, self._runtime = images, runtime
        self._tensors = images.tensors(runtime.device)

    def preparation(self, rows: Rows, augment: AugmentationConfig | None) -> Preparation:
        statistics = channel_statistics(self._images, rows)
        return Preparation(statistics, _augmentation(augment), self._runtime.dtype)

    def stream(self, rows: Rows, batch_size: int, prepare: Preparation, *names: str) -> Stream:
        draws = generator(self._runtime, *names, device=torch.device("cpu"))
        return ImageStream(self._tensors, rows, batch_size, prepare, draws, ImageBatch)

    def batches(self, rows: Rows, batch_size: int, prepare: Preparation) -> Iterator[ImageBatch]:
        return image_batches(self._tensors, rows, batch_size, prepare, ImageBatch)


class _OnDisk:
    def __init__(self, images: FolderImages, runtime: Runtime) -> None:
        self.images: Images | FolderImages = images
        self._images, self._runtime = images, runtime

    def preparation(self, rows: Rows, augment: AugmentationConfig | None) -> Preparation:
        statistics = GREY if self._images.shape[2] == 1 else IMAGENET
        return Preparation(statistics, _augmentation(augment), self._runtime.dtype)

    def stream(self, rows: Rows, batch_size: int, prepare: Preparation, *names: str) -> Stream:
        draws = generator(self._runtime, *names, device=torch.device("cpu"))
        device = self._runtime.device
        return FolderStream(self._images, rows, batch_size, prepare, draws, ImageBatch, device)

    def batches(self, rows: Rows, batch_size: int, prepare: Preparation) -> Iterator[ImageBatch]:
        device = self._runtime.device
        return folder_batches(self._images, rows, batch_size, prepare, ImageBatch, device)


def source_of(images: Images | FolderImages, runtime: Runtime) -> Source:
    """The source for images in memory or on disk."""
    return _InMemory(images, runtime) if isinstance(images, Images) else _OnDisk(images, runtime)


def _augmentation(augment: AugmentationConfig | None) -> Augmentation | None:
    if augment is None:
        return None
    jitter = augment.jitter or 0.0
    return Augmentation(
        augment.pad, augment.flip, augment.cutout, jitter, jitter, jitter,
        augment.scale, augment.rotate, augment.hue,
    )  # fmt: skip
