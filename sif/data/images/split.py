"""Train, valid and test part of images: stratified by class, seeded and hashed.

An official test part is kept; otherwise a test part is cut first. Cuts of one seed nest: another
share of validation does not change the test part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sif.data.images.dataset import Images, Int64Array
from sif.data.images.lazy import FolderImages
from sif.data.interactions.parts import PART_NAMES, TEST, TRAIN, VALID, InParts, Parts
from sif.errors import DataError
from sif.utils.digest import digest

_SPLIT_STREAM = 0x1A6E5  # keeps these random numbers apart from those of other splits


@dataclass(frozen=True, eq=False)
class ImageSplit(InParts[Int64Array]):
    """The part that each image belongs to.

    Attributes:
        classes: Names of the classes.
        part: (n,) int8: 0 train, 1 valid, 2 test.
        protocol: Origin of test and valid, such as "official test, valid 0.5".
        seed: Seed of the draw of the parts.
        hash: 16 hex digits over the images' hash and the parts.
        notes: Changes of the data, one line each.
    """

    classes: tuple[str, ...]
    part: Parts
    protocol: str
    seed: int
    hash: str
    notes: tuple[str, ...] = ()

    def rows(self, number: int) -> Int64Array:
        """Rows of each part (see `InParts`), ascending."""
        return np.flatnonzero(self.part == number)

    def description(self) -> dict[str, Any]:
        """Sizes of the parts (see `InParts`) and the number of classes."""
        return {**super().description(), "classes": len(self.classes)}


def make_image_split(
    images: Images | FolderImages, *, valid_share: float, seed: int, test_share: float = 0.2
) -> ImageSplit:
    """Splits images at random within each class.

    Args:
        images: In memory or on disk.
        valid_share: Of each class's images outside the test part, rounded to whole images; at 0
            there is no validation part.
        seed: The same seed gives the same split.
        test_share: Of each class's images, where there is no official test part.

    Raises:
        DataError: A share is not in [0, 1), or leaves a part that is not empty without some class.
    """
    where = images.name
    for name, share, low in (("valid", valid_share, "0"), ("test", test_share, "above 0")):
        if not 0 <= share < 1 or (name == "test" and share == 0):
            raise DataError(f"{where}: {name} share: expected {low} to below 1, found {share:g}")
    keys = np.random.default_rng([_SPLIT_STREAM, seed]).random(len(images.labels))
    official = images.test is not None
    part = np.full(len(images.labels), TRAIN, dtype=np.int8)
    if images.test is not None:
        part[images.test] = TEST
    for label in range(len(images.classes)):
        rows = np.flatnonzero((images.labels == label) & (part == TRAIN))
        rows = rows[np.argsort(keys[rows], kind="stable")]
        n_test = 0 if official else round(len(rows) * test_share)
        n_valid = round((len(rows) - n_test) * valid_share)
        part[rows[:n_test]] = TEST
        part[rows[n_test : n_test + n_valid]] = VALID
    _check_classes(images, part, official, {"valid": valid_share, "test": test_share})
    protocol = f"official test, valid {valid_share:g}"
    if not official:
        protocol = f"test {test_share:g}, valid {valid_share:g}"
    sealed = digest(images.classes, images.content_hash, part)
    return ImageSplit(images.classes, part, protocol, seed, sealed, images.notes)


def _check_classes(
    images: Images | FolderImages, part: Parts, official: bool, shares: dict[str, float]
) -> None:
    """Every class in every part; an official test part may lack some."""
    for number, name in enumerate(PART_NAMES):
        if (number == TEST and official) or shares.get(name) == 0:
            continue
        counts = np.bincount(images.labels[part == number], minlength=len(images.classes))
        if not counts.all():
            label = int(np.argmin(counts > 0))
            listing = ", ".join(f"{key} {share:g}" for key, share in shares.items())
            total = int((images.labels == label).sum())
            raise DataError(
                f"{images.name}: expected images of every class in {name} (shares: {listing}),"
                f" found none of {images.classes[label]!r}, which has {total} in all"
            )
    if not (part == TEST).any():
        raise DataError(f"{images.name}: expected images in the test part, found none")
