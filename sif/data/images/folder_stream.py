"""Endless and single passes over images on disk, decoded ahead of their use by worker processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sif.core.space import Batch
from sif.core.stream import Permutation
from sif.data.images.augment import Preparation
from sif.data.images.dataset import Int64Array
from sif.data.images.decode import Gathering, corrupt_notes
from sif.data.images.lazy import FolderImages
from sif.data.images.stream import Make, PartStream
from sif.errors import DataError

_PREFETCH = 2  # batches that each worker decodes ahead


@dataclass(frozen=True)
class _Decoded:
    """A worker's batch without its corrupt images (file to reason), or the problem it met."""

    pixels: Tensor
    labels: Tensor
    corrupt: dict[str, str]
    problem: str


class _Files(Dataset[_Decoded]):
    """Batches by their rows; runs in a worker, which answers instead of raising."""

    def __init__(self, images: FolderImages) -> None:
        self._images = images

    def __getitem__(self, rows: list[int]) -> _Decoded:
        images = self._images
        gathering = Gathering(str(images.root), images.form, expected=images.shape)
        problem = ""
        try:
            kept, pixels = images.decoded(rows, gathering)
        except DataError as error:
            kept, pixels = images.decoded([], gathering)
            problem = str(error)
        labels = torch.from_numpy(images.labels[kept])
        return _Decoded(torch.from_numpy(pixels), labels, gathering.corrupt, problem)


def _decoded(
    images: FolderImages, batches: Iterable[list[int]], workers: int
) -> Iterator[_Decoded]:
    """Batches decoded ahead of their use, in order."""
    return iter(
        DataLoader(
            _Files(images), batch_size=None, sampler=batches,
            num_workers=workers, prefetch_factor=_PREFETCH if workers else None,
            generator=torch.Generator().manual_seed(0),  # else it would draw from the global one
        )
    )  # fmt: skip


class FolderStream(PartStream):
    """Endless batches of a part whose images stay on disk; see `PartStream`.

    A corrupt image is left out of its batch. Without workers this process decodes.
    """

    def __init__(
        self, images: FolderImages, rows: Int64Array, batch_size: int, prepare: Preparation,
        generator: torch.Generator, make: Make, device: torch.device, workers: int = 2,
    ) -> None:  # fmt: skip
        super().__init__(rows, batch_size, prepare, generator, make)
        self._images, self._device = images, device
        self._workers = workers
        self._loader: Iterator[_Decoded] | None = None
        # The order runs ahead of the batches; these are its states after each that is on its way.
        self._coming: deque[dict[str, Any]] = deque()
        self._reached = self._order.state_dict()
        self.corrupt: dict[str, str] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on images that were left out so far."""
        return corrupt_notes(str(self._images.root), self.corrupt, len(self._images))

    def next(self) -> Batch:
        """The next batch.

        Raises:
            DataError: Too many corrupt images, or one of another size.
        """
        while True:
            if self._loader is None:
                self._loader = self._start()
            decoded = next(self._loader)
            self._reached = self._coming.popleft()
            pixels, labels = _checked(decoded, self._images, self.corrupt)
            if len(labels):
                return self._batch(*_sent(pixels, labels, self._device))

    def _start(self) -> Iterator[_Decoded]:
        self._coming = deque()
        batches = _in_turn(self._rows, self._order, self._coming)
        return _decoded(self._images, batches, self._workers)

    def state_dict(self) -> dict[str, Any]:
        """The state that decides the batches to come, those decoded ahead included."""
        return {**super().state_dict(), "rows": self._reached}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        super().load_state_dict(state)
        self._loader, self._reached = None, state["rows"]


def _in_turn(
    rows: Int64Array, order: Permutation, coming: deque[dict[str, Any]]
) -> Iterator[list[int]]:
    """Endless batches of rows; notes the order's state after each.

    No method of the stream: a loader that refers back to its owner is only found by the collector
    of cycles, which takes its queues away before it can stop its workers.
    """
    for _ in repeat(None):
        chosen = rows[order.next().numpy()].tolist()
        coming.append(order.state_dict())
        yield chosen


def _sent(pixels: Tensor, labels: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Both on a device, without waiting for what runs there."""
    return pixels.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def _checked(
    decoded: _Decoded, images: FolderImages, corrupt: dict[str, str]
) -> tuple[Tensor, Tensor]:
    """Pixels and labels; adds to the corrupt images, and refuses too many."""
    if decoded.problem:
        raise DataError(decoded.problem)
    if decoded.corrupt:
        corrupt.update(decoded.corrupt)
        corrupt_notes(str(images.root), corrupt, len(images))
    return decoded.pixels, decoded.labels


def folder_batches(
    images: FolderImages, rows: Int64Array, batch_size: int, prepare: Preparation, make: Make,
    device: torch.device, workers: int = 2,
) -> Iterator[Batch]:  # fmt: skip
    """One pass over a part in its order, for evaluation; see `FolderStream`."""
    parts = [some.tolist() for some in torch.from_numpy(rows).split(batch_size)]
    draws, corrupt = torch.Generator().manual_seed(0), dict[str, str]()
    for decoded in _decoded(images, parts, workers):
        pixels, labels = _checked(decoded, images, corrupt)
        if len(labels):
            pixels, labels = _sent(pixels, labels, device)
            yield make(prepare(pixels, draws), labels)
