"""Reads images directly from a tar archive (plain, gz, bz2, xz), in one pass, without unpacking."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from sif.data.images.dataset import Images, Pixels
from sif.data.images.decode import ALL_GRAY, Form, Gathering, corrupt_notes, is_gray
from sif.data.images.folders import PARTS, Entry, is_image, label_entries
from sif.errors import DataError

_MOST_BYTES = 64 << 20  # of one encoded image


def is_archive(path: Path) -> bool:
    """True if a name ends like a tar archive."""
    name = path.name.lower()
    return name.endswith((".tar", ".tgz", ".txz")) or ".tar." in name


def read_archive(
    path: Path, form: Form, *, per_class: int | None = None, memory: int = 1 << 32
) -> Images:
    """Reads class folders from an archive, with the layouts that folders may have.

    But for Tiny-ImageNet's, whose validation part names its classes in a file: unpack that one.

    Args:
        path: The archive.
        form: Channels and size of the images.
        per_class: Most images of each class and part, the first ones in the archive.
        memory: Most bytes of pixels that are held.

    Returns:
        Images sorted by part, class and name, as those of the unpacked folder would be.

    Raises:
        DataError: The archive is damaged, holds links or paths outside it, no or too many images,
            images of several sizes, or too many corrupt ones.
    """
    where = str(path)
    gathering = Gathering(where, form)
    seen: Counter[tuple[str, str]] = Counter()
    images: list[tuple[Entry, Pixels]] = []
    size, gray = 0, form.channels is None
    for entry, content in _members(path, seen, per_class):
        pixels = gathering.decode(entry.name, content)
        if pixels is None:
            continue
        size += pixels.nbytes
        if size > memory:
            raise DataError(
                f"{where}: expected at most {memory:,} bytes of pixels, found more;"
                f" unpack it and name the folder"
            )
        gray = gray and is_gray(content)
        images.append((entry, pixels))
    read = sum(min(count, per_class or count) for count in seen.values())
    if not read:
        raise DataError(f"{where}: expected images in folders of classes, found none")
    notes = corrupt_notes(where, gathering.corrupt, read)
    images.sort(key=lambda pair: pair[0])
    labeled = label_entries([entry for entry, _ in images], where)
    stacked = np.stack([pixels[..., :1] if gray else pixels for _, pixels in images])
    notes = (*[ALL_GRAY] * gray, *notes)
    if per_class is not None:
        notes = (f"only {per_class} images of each class and part are read", *notes)
    return Images(
        path.name.split(".")[0], stacked, labeled.labels, labeled.classes, labeled.test,
        (*labeled.notes, *notes),
    )  # fmt: skip


def _members(
    path: Path, seen: Counter[tuple[str, str]], per_class: int | None
) -> Iterator[tuple[Entry, bytes]]:
    """Images with their content; counts in `seen` those of each part and class."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                _refuse_unsafe(path, member)
                entry = _entry(member.name) if member.isfile() else None
                if entry is None:
                    continue
                group = (entry.part, entry.category)
                seen[group] += 1
                stream = archive.extractfile(member)
                if stream is not None and (per_class is None or seen[group] <= per_class):
                    yield entry, stream.read()
            # A mark ends an archive; without this a cut between two files would go unnoticed.
            if archive.fileobj is None or archive.fileobj.tell() <= archive.offset:
                raise EOFError("no mark at its end")
    except FileNotFoundError:
        raise DataError(f"{path}: expected an archive, found no such file") from None
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, OSError) as error:
        raise DataError(f"{path}: expected a whole tar archive, found: {error}") from None


def _refuse_unsafe(path: Path, member: tarfile.TarInfo) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
        raise DataError(f"{path}: expected plain files and folders below it, found {member.name!r}")
    if member.size > _MOST_BYTES:
        raise DataError(
            f"{path}: {member.name}: expected at most {_MOST_BYTES:,} bytes, found {member.size:,}"
        )


def _entry(name: str) -> Entry | None:
    """Part and class from `[root/]part/class/[images/]file` or `[root/]class/file`."""
    parts = [part for part in PurePosixPath(name).parts if part != "."]
    if not is_image(name) or len(parts) < 2:
        return None
    if len(parts) > 3 and parts[-2] == "images" and parts[-4] in PARTS:
        return Entry(parts[-4], parts[-3], "/".join(parts))
    part = parts[-3] if len(parts) > 2 and parts[-3] in PARTS else ""
    return Entry(part, parts[-2], "/".join(parts))
