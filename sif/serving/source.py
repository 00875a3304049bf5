"""Where a server's model lies: in a run, in a folder of one model, or in one of versions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sif.errors import CheckpointError
from sif.recommender.graph_files import FILE as GRAPH_FILE
from sif.recommender.model import FILE, ServedModel
from sif.recommender.versions import VERSIONS, current_version


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
    named = current_version(folder)
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
