"""Encoded images (JPEG, PNG) to pixels of one size and number of channels.

All images have one size, or a `size` is given: then the shorter side is resized to it (bilinear,
with antialiasing) and the center is cut out. A few corrupt images are named and left out; more than
that is refused.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sif.data.images.dataset import Pixels, check_channels
from sif.errors import DataError
from sif.utils.optional import library

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SUFFIXES = (".jpg", ".jpeg", ".png")
ALL_GRAY = "all images are gray and read with one channel"
"""Note of a reader that has chosen the number of channels."""
_TOLD = 3  # corrupt images named in a note
_MODES = {1: "L", 3: "RGB"}
_GRAY = ("1", "L", "LA", "I;16")
_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


class CorruptImage(Exception):
    """An image that cannot be decoded."""


def pillow() -> Any:
    """The module `PIL.Image`.

    Raises:
        ConfigError: Pillow is not installed.
    """
    return library("PIL.Image", "images", "pillow")


@dataclass(frozen=True)
class Form:
    """The form of images: 1 (gray) or 3 channels, and squares of a size in pixels if it is given.

    Without channels a reader takes 1 if all images are gray, 3 otherwise.

    Raises:
        DataError: Neither 1 nor 3 channels, or no positive size.
    """

    channels: int | None = 3
    size: int | None = None

    def __post_init__(self) -> None:
        if self.channels is not None:
            check_channels(self.channels, "images")
        if self.size is not None and self.size < 1:
            raise DataError(f"images: size: expected at least 1 pixel, found {self.size}")


def decode(content: bytes, form: Form, where: str) -> Pixels:
    """Decodes one JPEG or PNG to (h, w, channels) uint8.

    Transparency is dropped, an orientation in EXIF not applied.

    Raises:
        CorruptImage: It cannot be decoded.
        DataError: It has more than 8 bits per channel.
    """
    image = pillow()
    try:
        with image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as opened:
            opened.load()
            if opened.mode not in _EIGHT_BIT:
                raise DataError(f"{where}: expected 8 bits per channel, found mode {opened.mode}")
            converted = opened.convert(_MODES[form.channels or 3])
    except DataError:
        raise
    except Exception as error:  # damaged images fail in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CorruptImage("no image in it" if "identify" in reason else reason[:80]) from None
    return _array(converted if form.size is None else _square(converted, form.size))


def is_gray(source: bytes | Path) -> bool:
    """True for an image of one channel, by its header, and for what is no image."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with pillow().open(file, formats=("JPEG", "PNG")) as opened:
            return opened.mode in _GRAY
    except _damage():
        return True


def _damage() -> tuple[type[Exception], ...]:
    """Exceptions of images that cannot be decoded."""
    bomb: type[Exception] = pillow().DecompressionBombError
    return (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, bomb)


def resized(pixels: Pixels, size: int | None) -> Pixels:
    """Images (n, h, w, c) as squares of a side; as they are if the size is None or theirs."""
    if size is None or pixels.shape[1:3] == (size, size):
        return pixels
    Form(size=size)
    image = pillow()
    squares = np.empty((len(pixels), size, size, pixels.shape[3]), dtype=np.uint8)
    for row, content in enumerate(pixels):
        one = image.fromarray(content[..., 0] if content.shape[-1] == 1 else content)
        squares[row] = _array(_square(one, size))
    return squares


def _square(picture: Picture, size: int) -> Picture:
    """The picture, its shorter side resized, its center cut out."""
    width, height = picture.size
    if (width, height) == (size, size):
        return picture
    scale = size / min(width, height)
    width, height = max(size, round(width * scale)), max(size, round(height * scale))
    left, top = (width - size) // 2, (height - size) // 2
    larger = picture.resize((width, height), pillow().Resampling.BILINEAR)
    return larger.crop((left, top, left + size, top + size))


def _array(picture: Picture) -> Pixels:
    pixels: Pixels = np.asarray(picture, dtype=np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


@dataclass
class Gathering:
    """Keeps the rules while images are decoded one after the other.

    Attributes:
        where: For messages.
        form: Size and channels that images are brought to.
        expected: (h, w, c) of every image; that of the first one if it is empty.
        corrupt: Names of omitted images, with the reason.
    """

    where: str
    form: Form
    expected: tuple[int, ...] = ()
    corrupt: dict[str, str] = field(default_factory=dict)
    _first: str = "the first image"

    def decode(self, name: str, source: bytes | Path) -> Pixels | None:
        """One image (h, w, c) from its content or file, or None if it is corrupt.

        Raises:
            DataError: It has another size than the first one, cannot be read, or has 16 bits.
        """
        try:
            content = source if isinstance(source, bytes) else source.read_bytes()
        except OSError as error:
            raise DataError(f"{self.where}: {name}: could not be read: {error.strerror}") from None
        try:
            pixels = decode(content, self.form, f"{self.where}: {name}")
        except CorruptImage as error:
            self.corrupt[name] = str(error)
            return None
        self._check_size(name, pixels)
        return pixels

    def _check_size(self, name: str, pixels: Pixels) -> None:
        if not self.expected:
            self._first, self.expected = name, pixels.shape
        if pixels.shape != self.expected:
            (height, width), (h, w) = self.expected[:2], pixels.shape[:2]
            raise DataError(
                f"{self.where}: {name}: expected {width}x{height} pixels as in {self._first},"
                f" found {w}x{h}; give a size to resize all"
            )


def corrupt_notes(where: str, corrupt: dict[str, str], n: int) -> tuple[str, ...]:
    """One note on the corrupt of n images that were left out, or none.

    Raises:
        DataError: More than one in a hundred is corrupt, and more than one in all.
    """
    if not corrupt:
        return ()
    listing = ", ".join(f"{name} ({reason})" for name, reason in list(corrupt.items())[:_TOLD])
    more = ", ..." if len(corrupt) > _TOLD else ""
    most = max(1, n // 100)
    if len(corrupt) > most:
        raise DataError(
            f"{where}: expected at most {most} corrupt of {n} images, found {len(corrupt)}:"
            f" {listing}{more}"
        )
    return (f"{len(corrupt)} corrupt of {n} images left out: {listing}{more}",)
