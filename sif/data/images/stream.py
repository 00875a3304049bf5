"""Endless and single passes over images that are in memory, prepared on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from sif.core.space import Batch
from sif.core.stream import Permutation
from sif.data.images.augment import Preparation
from sif.data.images.dataset import ImageTensors, Int64Array
from sif.errors import DataError

Make = Callable[[Tensor, Tensor], Batch]
"""Images (n, c, h, w) and labels (n,) to the batch of a space."""

_AUGMENTATION_STREAM = 0xA46  # keeps augmentation apart from the order of the images


class PartStream:
    """Order and augmentation of endless batches of one part, wherever its images lie.

    Rows (n,) are those of the part; the generator, on the CPU, orders them and seeds augmentation.

    Raises:
        DataError: A batch is larger than the part.
    """

    def __init__(
        self, rows: Int64Array, batch_size: int, prepare: Preparation,
        generator: torch.Generator, make: Make,
    ) -> None:  # fmt: skip
        n = len(rows)
        if not 1 <= batch_size <= n:
            raise DataError(
                f"batch size: expected 1 to {n}, the images of the part, found {batch_size}"
            )
        self._rows, self._prepare, self._make = rows, prepare, make
        self._order = Permutation(n, batch_size, generator, always=True)
        self._draws = torch.Generator().manual_seed(generator.initial_seed() ^ _AUGMENTATION_STREAM)

    @property
    def steps_per_pass(self) -> int:
        """Batches in one pass over the part."""
        return self._order.steps_per_pass

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the batches to come."""
        return {"rows": self._order.state_dict(), "draws": self._draws.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self._order.load_state_dict(state["rows"])
        self._draws.set_state(state["draws"])

    def _batch(self, pixels: Tensor, labels: Tensor) -> Batch:
        return self._make(self._prepare(pixels, self._draws), labels)


class ImageStream(PartStream):
    """Endless batches of one part of images in memory; see `PartStream`."""

    def __init__(
        self, images: ImageTensors, rows: Int64Array, batch_size: int, prepare: Preparation,
        generator: torch.Generator, make: Make,
    ) -> None:  # fmt: skip
        super().__init__(rows, batch_size, prepare, generator, make)
        self._images = images
        self._numbers = torch.from_numpy(self._rows)

    def next(self) -> Batch:
        """The next batch."""
        rows = self._numbers[self._order.next()]
        rows = rows.to(self._images.labels.device, non_blocking=True)
        return self._batch(self._images.pixels[rows], self._images.labels[rows])


def image_batches(
    images: ImageTensors, rows: Int64Array, batch_size: int, prepare: Preparation, make: Make
) -> Iterator[Batch]:
    """One pass over a part's rows (n,) in their order, for evaluation; a last batch may be smaller.

    What `prepare` draws, where it augments, is the same in every pass.
    """
    draws = torch.Generator().manual_seed(_AUGMENTATION_STREAM)
    for some in torch.from_numpy(rows).split(batch_size):
        chosen = some.to(images.labels.device, non_blocking=True)
        yield make(prepare(images.pixels[chosen], draws), images.labels[chosen])
