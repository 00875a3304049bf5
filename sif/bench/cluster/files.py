"""Files that travel between home and nodes, and lie at the same paths everywhere.

A node that shares a path with home, or has its own copy there, needs nothing. Another one keeps
what it gets in a cache by content, and a link to it stands at the path of home.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Files = Sequence[tuple[str, int, bytes]]
"""Name below a folder ("" for a file itself), time of change in ns, and content of each file."""

_CHUNK = 1 << 20  # bytes that are read at a time


class NodeError(Exception):
    """Files that cannot be put in place on a node."""


@dataclass(frozen=True)
class Content:
    """A file, or a folder with its files, as it is at home.

    Attributes:
        path: Absolute.
        sizes: Name below the folder, bytes, and time of change in ns of each file.
    """

    path: Path
    sizes: tuple[tuple[str, int, int], ...]

    @classmethod
    def of(cls, path: Path) -> Content:
        """The content that is there now; a path that is nowhere has none."""
        found = []
        for name, file in _files(path):
            status = file.stat()
            found.append((name, status.st_size, status.st_mtime_ns))
        return cls(path, tuple(found))

    @property
    def is_here(self) -> bool:
        """True if the same lies at the path on this machine, as far as sizes and times tell."""
        with contextlib.suppress(OSError):
            return bool(self.sizes) and Content.of(self.path) == self
        return False


@dataclass(frozen=True)
class Sent:
    """Content on its way.

    Attributes:
        digest: Of names and bytes.
        data: `Files`, or a reference that `Home.fetch` makes one of.
    """

    digest: str
    data: Any


def digest(path: Path) -> str:
    """SHA-256 (first 32 hex digits) of names and bytes."""
    sha = hashlib.sha256()
    for name, file in _files(path):
        sha.update(f"{name}\x00{file.stat().st_size}\x00".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                sha.update(chunk)
    return sha.hexdigest()[:32]


def packed(path: Path) -> Files:
    """The content of a file or folder; none where it is nowhere."""
    return [(name, file.stat().st_mtime_ns, file.read_bytes()) for name, file in _files(path)]


def unpacked(files: Files, path: Path) -> None:
    """Writes content to a path, in place of what is there; all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        whole = draft / "whole"
        for name, changed, data in files:
            file = whole / name if name else whole
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            os.utime(file, ns=(changed, changed))
        if path.is_dir():  # a folder cannot take the place of one with files
            path.replace(draft / "former")
        whole.replace(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def in_place(content: Content, sent: Sent | None, fetch: Callable[[Any], Files]) -> bool:
    """Tells if content lies at its path on this machine; puts it there where it was sent.

    Raises:
        NodeError: Something else lies there.
        OSError: It cannot be written.
    """
    if content.is_here:
        return True
    if sent is None:
        return False
    path = content.path
    if not _is_ours(path) and path.exists():
        if digest(path) != sent.digest:
            raise NodeError(f"{path}: expected the content that it has at home, found another")
        return True
    kept = _cache() / sent.digest / (path.name or "root")
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):  # another trial has just written the same folder
            unpacked(fetch(sent.data), kept)
        if not kept.exists():
            raise NodeError(f"{kept}: cannot be written")
    path.parent.mkdir(parents=True, exist_ok=True)
    link = path.with_name(f".{path.name}.{os.getpid()}")
    link.symlink_to(kept)
    link.replace(path)
    return True


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """The file at a path, or the files below it, each with its name there, in order."""
    if path.is_file():
        yield "", path
    elif path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                yield file.relative_to(path).as_posix(), file


def _is_ours(path: Path) -> bool:
    """True for a link into the cache, which may be replaced."""
    return path.is_symlink() and Path(os.readlink(path)).is_relative_to(_cache())


def _cache() -> Path:
    """The folder of this user for what was sent, on this machine."""
    folder = Path(tempfile.gettempdir()) / f"sif-files-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise NodeError(f"{folder}: expected a folder of this user, found another's")
    return folder
