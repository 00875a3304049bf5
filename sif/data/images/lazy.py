"""Folders of images: read into memory if they fit, else left on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from sif.data.images.dataset import Images, Int64Array, Mask, Pixels, first_of_each
from sif.data.images.decode import ALL_GRAY, Form, Gathering, corrupt_notes, is_gray
from sif.data.images.folders import label_entries, list_entries
from sif.errors import DataError
from sif.utils.digest import digest


@dataclass(frozen=True, eq=False)
class FolderImages:
    """Labeled images that stay on disk; see `Images`.

    Attributes:
        root: Their folder.
        files: (n) paths below it.
        form: Size and channels that every image is brought to.
        shape: (h, w, c) of every image then.
    """

    name: str
    root: Path
    files: tuple[str, ...]
    labels: Int64Array
    classes: tuple[str, ...]
    form: Form
    shape: tuple[int, int, int]
    test: Mask | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def content_hash(self) -> str:
        """16 hex digits over classes, form, labels, names and sizes of files, not their content."""
        sizes = np.array([(self.root / file).stat().st_size for file in self.files])
        return digest(self.classes, self.form, self.labels, self.test, self.files, sizes)

    def read(self, rows: Int64Array) -> Images:
        """Decodes some images, without corrupt ones, for statistics of channels.

        Raises:
            DataError: As in `read_folder`.
        """
        gathering = Gathering(str(self.root), self.form)
        kept, pixels = self.decoded(rows, gathering)
        notes = corrupt_notes(str(self.root), gathering.corrupt, len(rows))
        if not len(kept):
            raise DataError(f"{self.root}: expected images that can be read, found none")
        test = None if self.test is None else self.test[kept]
        return Images(self.name, pixels, self.labels[kept], self.classes, test,
                      (*self.notes, *notes))  # fmt: skip

    def decoded(self, rows: Iterable[int], gathering: Gathering) -> tuple[Int64Array, Pixels]:
        """Rows (m,) that are not corrupt, and their pixels (m, h, w, c)."""
        kept, pixels = [], []
        for row in rows:
            one = gathering.decode(self.files[row], self.root / self.files[row])
            if one is not None:
                kept.append(row)
                pixels.append(one)
        stacked = np.stack(pixels) if pixels else np.empty((0, *self.shape), dtype=np.uint8)
        return np.array(kept, dtype=np.int64), stacked


def read_folder(
    root: Path, form: Form, *, per_class: int | None = None, memory: int = 1 << 32
) -> Images | FolderImages:
    """Reads class folders, in memory or lazily.

    Args:
        root: Folder with a layout of `sif.data.images.folders`.
        form: Channels and size of the images.
        per_class: Most images of each class and part, the first ones by name.
        memory: Most bytes of pixels that are held; beyond, images stay on disk.

    Returns:
        `Images`, or `FolderImages` whose corrupt files are found when they are read.

    Raises:
        DataError: No images, a class without one, images of several sizes and no `form.size`, or
            too many corrupt ones.
    """
    entries = list_entries(root)
    labeled = label_entries(entries, str(root))
    rows = np.arange(len(entries))
    notes = labeled.notes
    if per_class is not None:
        rows = first_of_each(labeled.labels, labeled.test, per_class)
        notes = (*notes, f"only {per_class} images of each class and part are read")
    files = tuple(entries[row].name for row in rows)
    if form.channels is None:
        gray = all(is_gray(root / file) for file in files)
        form = replace(form, channels=1 if gray else 3)
        notes = (*notes, *[ALL_GRAY] * gray)
    test = None if labeled.test is None else labeled.test[rows]
    shape = _shape(root, files, form)
    images = FolderImages(root.resolve().name, root, files, labeled.labels[rows],
                         labeled.classes, form, shape, test, notes)  # fmt: skip
    if len(files) * int(np.prod(shape)) > memory:
        return images
    return images.read(np.arange(len(files)))


def _shape(root: Path, files: Sequence[str], form: Form) -> tuple[int, int, int]:
    """(h, w, c) of the first image that can be decoded."""
    gathering = Gathering(str(root), form)
    for file in files:
        pixels = gathering.decode(file, root / file)
        if pixels is not None:
            return pixels.shape[0], pixels.shape[1], pixels.shape[2]
        corrupt_notes(str(root), gathering.corrupt, len(files))
    raise DataError(f"{root}: expected images that can be read, found none")
