"""Folders of classes: the class and the part of every image.

`train/<class>/*` beside `test/<class>/*` or `val/<class>/*`; folders of classes alone; and the
layout of Tiny-ImageNet (`train/<class>/images/*`, `val/images/*` with `val/val_annotations.txt`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from sif.data.images.dataset import Int64Array, Mask
from sif.data.images.decode import SUFFIXES
from sif.data.reading import reading
from sif.errors import DataError

PARTS = ("train", "val", "test")
_ANNOTATIONS = "val/val_annotations.txt"


@dataclass(frozen=True, order=True)
class Entry:
    """An image file: part ("train", "val", "test", or "" without such folders), class and path."""

    part: str
    category: str
    name: str


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels (n,), sorted class names of the train part, what is test (n,) or None, and notes."""

    labels: Int64Array
    classes: tuple[str, ...]
    test: Mask | None
    notes: tuple[str, ...]


def is_image(name: str) -> bool:
    """True if a path ends like an image and is not hidden."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def list_entries(root: Path) -> list[Entry]:
    """All images of a folder but hidden ones, sorted by part, class and name.

    Raises:
        DataError: There is no folder of classes in it, or a class has no image.
    """
    if (root / _ANNOTATIONS).is_file():
        return sorted([*_list_part(root, "train"), *_annotated(root)])
    parts = [part for part in PARTS if (root / part).is_dir()]
    if parts and "train" not in parts:
        raise DataError(f"{root}: expected a folder train/ beside {parts[0]}/, found none")
    entries = [entry for part in parts or [""] for entry in _list_part(root, part)]
    return sorted(entries)


def _list_part(root: Path, part: str) -> list[Entry]:
    base = root / part
    inside = base.iterdir() if base.is_dir() else ()
    categories = sorted(path.name for path in inside if path.is_dir() and path.name[0] != ".")
    if not categories:
        raise DataError(f"{base}: expected a folder for each class, found none")
    entries: list[Entry] = []
    for category in categories:
        folder = base / category
        if (folder / "images").is_dir():
            folder = folder / "images"
        prefix = folder.relative_to(root).as_posix()
        names = [name for name in _files(folder) if is_image(name)]
        if not names:
            raise DataError(
                f"{folder}: expected images ({', '.join(SUFFIXES)}) of class {category!r},"
                f" found none"
            )
        entries += [Entry(part, category, f"{prefix}/{name}") for name in names]
    return entries


def _files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file()]


def _annotated(root: Path) -> list[Entry]:
    """The validation images of Tiny-ImageNet, whose classes are in a table."""
    path = root / _ANNOTATIONS
    entries: list[Entry] = []
    existing = set(_files(root / "val/images")) if (root / "val/images").is_dir() else set()
    with reading(path, "a table of files and classes"):
        lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t")
        if len(cells) < 2:
            raise DataError(f"{path} line {number}: expected file and class, found {line[:40]!r}")
        if cells[0] not in existing:
            raise DataError(
                f"{path} line {number}: expected val/images/{cells[0]}, found no such file"
            )
        entries.append(Entry("val", cells[1], f"val/images/{cells[0]}"))
    return entries


def label_entries(entries: Sequence[Entry], where: str) -> Labels:
    """Numbers the classes and finds the test part: test/, or val/ where there is no test/.

    Raises:
        DataError: Fewer than two classes, a class that the train part lacks, or images beside the
            folders of the parts.
    """
    parts = {entry.part for entry in entries}
    if "" in parts and len(parts) > 1:
        stray = next(entry for entry in entries if not entry.part)
        raise DataError(
            f"{where}: expected all images in train/, val/ or test/, found {stray.name}"
        )
    tested = next((part for part in ("test", "val") if part in parts), None)
    classes = tuple(sorted({e.category for e in entries if e.part in ("train", "")}))
    if len(classes) < 2:
        raise DataError(f"{where}: expected at least 2 classes to learn, found {len(classes)}")
    number = {category: label for label, category in enumerate(classes)}
    for entry in entries:
        if entry.category not in number:
            raise DataError(
                f"{where}: {entry.name}: expected a class of the train part,"
                f" found {entry.category!r}"
            )
    labels = np.array([number[entry.category] for entry in entries], dtype=np.int64)
    test = None if tested is None else np.array([entry.part == tested for entry in entries])
    joined = tested == "test" and "val" in parts
    notes = ("test/ is the test part; the images of val/ join those of train/",) if joined else ()
    return Labels(labels, classes, test, notes)
