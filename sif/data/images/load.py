"""Loads labeled images by a name or a path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from sif.data.download import first_folder, locate
from sif.data.images.archive import is_archive, read_archive
from sif.data.images.cifar import LAYOUTS, find_cifar, read_cifar
from sif.data.images.dataset import Images, check_channels, first_of_each, with_channels
from sif.data.images.decode import Form, resized
from sif.data.images.lazy import FolderImages, read_folder
from sif.data.recipe import DIGITS, Recipe, list_datasets, unknown_name
from sif.errors import DataError
from sif.utils.optional import library

MEMORY = 1 << 32
"""Bytes of pixels that are held in memory; ImageNet at 224 pixels would need 45 times as many."""


def load_images(
    name_or_path: str | Path,
    *,
    data_dir: Path | None = None,
    channels: int | None = None,
    size: int | None = None,
    per_class: int | None = None,
    memory: int = MEMORY,
) -> Images | FolderImages:
    """Load a known data set, a folder or an archive.

    Args:
        name_or_path: "digits", "cifar-10", "cifar-100", "cifar10-jpeg", or a path: an official
            CIFAR folder, a folder of class folders, or a tar archive of one.
        data_dir: Looked at first for a known name, and where a download goes.
        channels: 1 or 3; by default those of the data: 1 for digits and where all images of a
            folder or archive are gray, else 3.
        size: Side in pixels to which images are resized and cut; by default all must have one size.
        per_class: Most images of each class and part; by default all.
        memory: Most bytes of pixels that are held; a larger folder stays on disk.

    Returns:
        The images, with notes on what was done.

    Raises:
        DataError: Unknown name, missing or bad files; see the readers.
        ConfigError: A package is missing that reads these data.
    """
    if per_class is not None and per_class < 1:
        raise DataError(f"images per class: expected at least 1, found {per_class}")
    if channels is not None:
        check_channels(channels, str(name_or_path))
    name = str(name_or_path)
    recipe = list_datasets().get(name)
    path, notes = Path(name), list[str]()
    if recipe is not None and recipe.kind != DIGITS:
        path, notes = _find(recipe, data_dir)
    form = Form(channels, size)
    if recipe is not None and recipe.kind == DIGITS:
        images = read_digits()
    elif path.is_dir() and find_cifar(path) is not None:
        images = replace(read_cifar(path, official=recipe is not None), notes=tuple(notes))
    elif path.is_dir():
        return read_folder(path, form, per_class=per_class, memory=memory)
    elif is_archive(path):
        return read_archive(path, form, per_class=per_class, memory=memory)
    else:
        raise unknown_name(name, "images", "a folder, a tar archive")
    return _finished(images, channels, size, per_class, memory)


def _find(recipe: Recipe, data_dir: Path | None) -> tuple[Path, list[str]]:
    """Folder or archive of a known name, and notes.

    A folder in either official form counts, whole or not: its reader says what is missing.
    """
    recipe.check_content("images")
    names = [layout.folder for layout in LAYOUTS if layout.name == recipe.name]

    def find(base: Path) -> Path | None:
        if not recipe.url:
            return base / recipe.files[0] if (base / recipe.files[0]).is_file() else None
        return first_folder(base, (*names, recipe.name), lambda f: find_cifar(f) is not None)

    return locate(recipe, data_dir, find)


def _finished(
    images: Images, channels: int | None, size: int | None, per_class: int | None, memory: int
) -> Images:
    """Images of a fixed form in the form that was asked for; see `load_images`."""
    notes = images.notes
    if per_class is not None:
        images = images.select(first_of_each(images.labels, images.test, per_class))
        notes = (*notes, f"only {per_class} images of each class and part are read")
    if size is not None:
        needed = len(images) * size**2 * (channels or images.shape[2])
        if needed > memory:
            raise DataError(
                f"{images.name}: expected at most {memory:,} bytes of pixels,"
                f" found {needed:,} at size {size}; ask for fewer images of each class"
            )
    pixels = with_channels(images.pixels, channels, images.name)
    return replace(images, pixels=resized(pixels, size), notes=notes)


def read_digits() -> Images:
    """The 1,797 digits of scikit-learn: (n, 8, 8, 1), 0 to 16 scaled to 0 to 255, no test part.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    datasets = library("sklearn.datasets", "digits", "scikit-learn")
    values, labels = datasets.load_digits(return_X_y=True)
    pixels = np.rint(values * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    return Images("digits", pixels, labels.astype(np.int64), tuple("0123456789"))
