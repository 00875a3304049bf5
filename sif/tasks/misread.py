"""The mistakes of a trained classifier: a confusion matrix, and samples of its errors."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sif.data.images.dataset import Images
from sif.data.images.lazy import FolderImages
from sif.utils.optional import library

Ids = NDArray[np.int64]
Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

ASKED = 400
"""Misread images that are classified again, at most."""
SAMPLES = 24
"""Images that are shown."""
SIDE = 96
"""Pixels of the longer side of a shown image, at most."""


def confusion(
    images: Images | FolderImages, test: Ids, wrong: NDArray[np.bool_], predict: Predict
) -> dict[str, Any]:
    """The confusion matrix of a test part, and samples of what is misread.

    Only misread images are classified again, some of them where there are many: all others are
    predicted as what they are.

    Args:
        images: All.
        test: Rows of the test part.
        wrong: (len(test),) which of them are misread.
        predict: Pixels to probabilities of the classes.

    Returns:
        "matrix" (true, predicted) in images, scaled where only some were classified; "asked" and
        "misread", their numbers; "samples" with a picture each.
    """
    misread, names = np.flatnonzero(wrong), images.classes
    draws = np.random.default_rng(0)
    asked = misread
    if len(misread) > ASKED:
        asked = np.sort(draws.choice(misread, ASKED, replace=False))
    rows = test[asked]
    matrix = np.zeros((len(names), len(names)))
    np.add.at(matrix, (images.labels[test[~wrong]],) * 2, 1.0)
    samples: list[dict[str, Any]] = []
    if len(rows):
        part = images.select(rows) if isinstance(images, Images) else images.read(rows)
        probabilities = predict(part.pixels)
        guessed = probabilities.argmax(axis=1)
        np.add.at(matrix, (part.labels, guessed), len(misread) / len(rows))
        for k in draws.permutation(len(part.labels))[:SAMPLES].tolist():
            samples.append(
                {
                    "is": names[int(part.labels[k])], "read": names[int(guessed[k])],
                    "share": round(float(probabilities[k, guessed[k]]), 3),
                    "picture": picture(part.pixels[k]),
                }
            )  # fmt: skip
    return {
        "classes": list(names), "matrix": matrix.round(1).tolist(), "asked": len(rows),
        "misread": len(misread), "tested": len(test), "samples": samples,
    }  # fmt: skip


def picture(pixels: NDArray[np.uint8]) -> str:
    """An image (h, w, 1 or 3) as the base64 text of a PNG."""
    drawing = library("PIL.Image", "report", "pillow", "cnn")
    image = drawing.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
