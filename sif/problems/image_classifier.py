"""A trained network of cells as a classifier of pixels, saved without code."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from sif.data.images.augment import Preparation, Statistics
from sif.errors import ShapeError
from sif.spaces.cnn.cells import Cells, format_cells, parse_cells
from sif.spaces.cnn.networks import CellNetwork, Layout
from sif.utils.model_folder import SavedModel, checked_names, network_of

_FORMER_NAMES = {"normalised_pools": "normalized_pools"}
"""Keys in files of earlier versions, and today's."""
LARGEST = 1 << 16
"""Pixels of a side, at most."""


@dataclass(eq=False)
class ImageClassifier(SavedModel):
    """Predicts probabilities of classes from pixels.

    Attributes:
        network: Trained.
        cells: Of which it is built.
        statistics: Mean and deviation that normalize images.
        classes: Names by number.
        shape: (h, w, c) of the images.
    """

    format, kind, called = "sif-classifier", "classifier", "classifier"
    network: CellNetwork
    cells: Cells
    statistics: Statistics
    classes: tuple[str, ...]
    shape: tuple[int, int, int]

    @torch.no_grad()
    def predict(self, pixels: NDArray[np.uint8], batch_size: int = 256) -> NDArray[np.float32]:
        """Probabilities (n, classes).

        Args:
            pixels: (n, h, w, c) uint8.
            batch_size: Images at once.

        Raises:
            ShapeError: Images of another shape or type.
        """
        if pixels.dtype != np.uint8 or pixels.shape[1:] != self.shape:
            raise ShapeError(
                f"images: expected uint8 (n, {', '.join(map(str, self.shape))}), "
                f"found {pixels.dtype} {pixels.shape}"
            )
        self.network.eval()
        weight, unused = self.network.classifier.weight, torch.Generator()
        prepare = Preparation(self.statistics, None, weight.dtype)
        probabilities = [np.empty((0, len(self.classes)), np.float32)]
        for start in range(0, len(pixels), batch_size):
            some = torch.from_numpy(np.ascontiguousarray(pixels[start : start + batch_size]))
            logits = self.network(prepare(some.to(weight.device), unused))
            probabilities.append(logits.softmax(dim=1).float().cpu().numpy())
        return np.concatenate(probabilities)

    def about(self) -> dict[str, Any]:
        """The description: cells, layout, normalization and classes."""
        return {
            "cells": format_cells(self.cells),
            "layout": asdict(self.network.layout),
            "statistics": asdict(self.statistics),
            "classes": list(self.classes),
            "shape": list(self.shape),
        }

    @classmethod
    def built(cls, about: dict[str, Any], weights: dict[str, Any]) -> Self:
        """The classifier of a description and weights."""
        entries = {_FORMER_NAMES.get(key, key): value for key, value in about["layout"].items()}
        layout = _layout(entries)
        cells = parse_cells(about["cells"])
        widths = ("classes", "channels", "image_channels", "stem_multiplier")
        network = network_of(
            lambda: CellNetwork(cells, layout), weights,
            {name: entries[name] for name in widths}, {"cells": layout.cells},
        )  # fmt: skip
        statistics = Statistics(
            *(_numbers(about["statistics"], k, layout) for k in ("mean", "std"))
        )
        if not all(deviation > 0 for deviation in statistics.std):
            raise ValueError(f"expected deviations above 0, found {list(statistics.std)}")
        if not all(0 <= number <= 1 for number in (*statistics.mean, *statistics.std)):
            raise ValueError(f"statistics: expected numbers from 0 to 1, found {statistics}")
        height, width, channels = about["shape"]
        if channels != layout.image_channels or not all(
            type(n) is int and 0 < n <= LARGEST for n in (height, width)
        ):
            raise ValueError(
                f"shape: expected (h, w, {layout.image_channels}), found {about['shape']}"
            )
        classes = checked_names(about["classes"], layout.classes, "classes")
        return cls(network, cells, statistics, classes, (height, width, channels))


def _layout(entries: dict[str, Any]) -> Layout:
    """A layout of entries of the right types; ValueError otherwise."""
    try:
        return TypeAdapter(Layout).validate_json(json.dumps(entries), strict=True)
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(map(str, ("layout", *wrong["loc"])))
        raise ValueError(f"{place}: {wrong['msg']}, found {wrong['input']!r}") from None


def _numbers(statistics: dict[str, Any], name: str, layout: Layout) -> tuple[float, ...]:
    """A finite number for each channel; ValueError otherwise."""
    values = statistics[name]
    if not isinstance(values, list) or not all(
        type(value) in (int, float) and math.isfinite(value) for value in values
    ):
        raise ValueError(f"{name}: expected finite numbers, found {values!r}")
    if len(values) != layout.image_channels:
        raise ValueError(f"{name}: expected {layout.image_channels} numbers, found {len(values)}")
    return tuple(values)
