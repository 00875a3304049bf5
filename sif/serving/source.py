"""Where a server's model lies: in a run, in a folder of one model, or in one of versions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sif.errors import CheckpointError
from sif.recommender.graph_files import FILE as GRAPH_FILE
from sif.recommender.model import FILE, ServedModel

CURRENT = "CURRENT"
"""File of a folder of versions; it holds the name of the one that is served."""
VERSIONS = "versions"
"""Folder beside it; each version has a folder of its name there."""
_LONGEST = 200
"""Characters of a version's name."""


@dataclass(frozen=True)
class Found:
    """A model's file, and what tells it from another that may take its place.

    Attributes:
        folder: Of the model.
        version: Name of the version; of a folder without versions the time of its file.
        stamp: Changes with the file.
    """

    folder: Path
    version: str
    stamp: tuple[object, ...]

    def load(self) -> ServedModel:
        """Reads the model.

        Raises:
            CheckpointError: It is missing, damaged or foreign.
        """
        return ServedModel.load(self.folder)


def found(folder: Path) -> Found:
    """The model that a folder has now.

    Args:
        folder: Of a run, of a model, or of versions.

    Raises:
        CheckpointError: There is none.
    """
    named = _current(folder)
    place = folder if named is None else folder / VERSIONS / named
    path = place / FILE
    if named is None and not path.is_file():
        path = place / "model" / FILE  # of a run
    try:
        about = path.stat()
    except OSError:
        raise CheckpointError(f"{path}: expected a model, found none") from None
    stamp = [named, about.st_ino, about.st_mtime_ns, about.st_size]
    graph = path.with_name(GRAPH_FILE)
    if graph.is_file():
        stamp.append(graph.stat().st_mtime_ns)
    written = datetime.fromtimestamp(about.st_mtime_ns / 1e9, UTC)
    version = named or f"{written:%Y-%m-%dT%H:%M:%S}.{written.microsecond // 1000:03d}Z"
    return Found(path.parent, version, tuple(stamp))


def _current(folder: Path) -> str | None:
    """Name of the version that is served; None: the folder has no versions."""
    path = folder / CURRENT
    try:
        name = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: expected the name of a version, found {error}") from None
    if not name or len(name) > _LONGEST or name.startswith(".") or "/" in name or "\\" in name:
        raise CheckpointError(f"{path}: expected the name of a version, found {name!r}")
    return name
