"""The official CIFAR-10 and CIFAR-100 batches, as Python pickles or as binary records.

A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. Both forms give the same
`Images`: 32×32 pixels, all red ones first, then green, then blue; CIFAR-100 under its fine labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sif.data.images.dataset import Images, Int64Array, Pixels
from sif.data.images.unpickle import text_list, unpickle_batch
from sif.errors import DataError

SIDE = 32
_VALUES = 3 * SIDE * SIDE


@dataclass(frozen=True)
class Layout:
    """One official form of a data set.

    Attributes:
        name: Of the data set.
        folder: Name of the folder in the official archive.
        train: File to the number of its images.
        test: The same of the test part.
        meta: File with the names of the classes.
        labels: Entry of a batch with the labels; for records the number of bytes, the last counts.
        names: Entry of the meta file with the class names; "" for a text file.
        classes: Their number.
    """

    name: str
    folder: str
    train: dict[str, int]
    test: dict[str, int]
    meta: str
    labels: str | int
    names: str
    classes: int

    @property
    def files(self) -> tuple[str, ...]:
        """All files."""
        return (*self.train, *self.test, self.meta)


_TENS = dict.fromkeys((f"data_batch_{number}" for number in range(1, 6)), 10_000)
LAYOUTS = (
    Layout("cifar-10", "cifar-10-batches-py", _TENS, {"test_batch": 10_000}, "batches.meta",
           "labels", "label_names", 10),
    Layout("cifar-100", "cifar-100-python", {"train": 50_000}, {"test": 10_000}, "meta",
           "fine_labels", "fine_label_names", 100),
    Layout("cifar-10", "cifar-10-batches-bin", {f"{file}.bin": n for file, n in _TENS.items()},
           {"test_batch.bin": 10_000}, "batches.meta.txt", 1, "", 10),
    Layout("cifar-100", "cifar-100-binary", {"train.bin": 50_000}, {"test.bin": 10_000},
           "fine_label_names.txt", 2, "", 100),
)  # fmt: skip


def find_cifar(folder: Path) -> Layout | None:
    """The layout of which the folder has a file, or None."""
    return next((x for x in LAYOUTS if any((folder / file).is_file() for file in x.files)), None)


def read_cifar(folder: Path, *, official: bool = False) -> Images:
    """Images (n, 32, 32, 3) of an official folder, train files first, with the test part marked.

    If `official`, every file must hold as many images as published.

    Raises:
        DataError: A file is missing, truncated, no batch, or holds labels without a class.
    """
    layout = find_cifar(folder)
    if layout is None:
        examples = ", ".join(x.files[0] for x in LAYOUTS)
        raise DataError(f"{folder}: expected CIFAR batches such as {examples} in it, found none")
    missing = [file for file in layout.files if not (folder / file).is_file()]
    if missing:
        raise DataError(
            f"{folder}: expected the files {', '.join(layout.files)}, found no {missing[0]}"
        )
    classes = _classes(folder / layout.meta, layout)
    counts = {**layout.train, **layout.test}
    parts = [
        _read_file(folder / file, layout, n if official else None) for file, n in counts.items()
    ]
    lengths = [len(labels) for _, labels in parts]
    test = np.repeat([file in layout.test for file in counts], lengths)
    pixels = np.concatenate([pixels for pixels, _ in parts])
    return Images(
        layout.name, pixels, np.concatenate([labels for _, labels in parts]), classes, test
    )


def _classes(path: Path, layout: Layout) -> tuple[str, ...]:
    if layout.names:
        names = text_list(unpickle_batch(path).get(layout.names))
    else:
        names = tuple(path.read_text(encoding="utf-8", errors="replace").split())
    if len(names) != layout.classes:
        raise DataError(
            f"{path}: expected the names of {layout.classes} classes, found {len(names)}"
        )
    return names


def _read_file(path: Path, layout: Layout, expected: int | None) -> tuple[Pixels, Int64Array]:
    """Pixels (n, 32, 32, 3) and labels (n,) of one file."""
    if isinstance(layout.labels, int):
        flat, labels = _records(path, layout.labels)
    else:
        flat, labels = _entries(path, layout.labels)
    if not len(labels) or (expected is not None and len(labels) != expected):
        told = "images" if expected is None else f"{expected} images"
        raise DataError(f"{path}: expected {told}, found {len(labels)}")
    wrong = (labels < 0) | (labels >= layout.classes)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{path} image {row + 1}: label: expected 0..{layout.classes - 1}, found {labels[row]}"
        )
    pixels = flat.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), labels


def _records(path: Path, label_bytes: int) -> tuple[Pixels, Int64Array]:
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    length = label_bytes + _VALUES
    if len(content) % length:
        raise DataError(
            f"{path}: expected records of {length:,} bytes,"
            f" found {len(content):,} bytes, {len(content) % length:,} more than whole ones"
        )
    records = content.reshape(-1, length)
    return records[:, label_bytes:], records[:, label_bytes - 1].astype(np.int64)


def _entries(path: Path, key: str) -> tuple[Pixels, Int64Array]:
    entries = unpickle_batch(path)
    flat, labels = entries.get("data"), entries.get(key)
    if not isinstance(flat, np.ndarray) or flat.ndim != 2 or flat.shape[1] != _VALUES:
        actual = flat.shape if isinstance(flat, np.ndarray) else type(flat).__name__
        raise DataError(f"{path}: data: expected an array of shape (n, {_VALUES}), found {actual}")
    known = labels if isinstance(labels, Sequence) else ()
    whole = sum(isinstance(label, int) and abs(label) < 2**31 for label in known)
    if not len(known) == whole == len(flat):
        raise DataError(f"{path}: {key}: expected {len(flat)} whole numbers, found other values")
    return flat, np.array(known, dtype=np.int64)
