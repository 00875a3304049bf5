"""Versions of a model in one folder, of which one is served.

    folder/CURRENT                        the name of the version that is served
    folder/versions/NAME/recommender.safetensors

A version appears as a whole and never changes. `CURRENT` is replaced by one rename, once the
version is on disk: whatever ends the process on the way, a reader finds the version before or the
one after. Publishers of one folder wait for one another.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from sif.errors import CheckpointError, ConfigError
from sif.recommender.model import FILE, ServedModel
from sif.utils.checkpoint import new_folder, sync_folder, write_text_atomic
from sif.utils.locks import locked

CURRENT = "CURRENT"
"""File with the name of the version that is served."""
VERSIONS = "versions"
"""Folder with a folder of each version's name."""
KEPT = 3
"""Versions that a folder keeps, where nobody says another number."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}")
_WAIT = 60.0
"""Seconds for which a publisher waits for another."""
_STALE = 3600.0
"""Seconds after which a draft that nobody holds is one of a publisher that was killed."""
_ATTEMPTS = 5
"""Loads of what is current, while publishers remove what was."""


def publish(model: ServedModel, folder: Path, version: str, keep: int = KEPT) -> Path:
    """Writes a model as a version of a folder, and makes it the one that is served.

    Args:
        model: The model.
        folder: Is made where it is missing.
        version: Its name, which no version there has.
        keep: Versions that stay: the latest, the one that is served among them.

    Returns:
        The file.

    Raises:
        ConfigError: A name that is none or that a version has, or less than one to keep.
        CheckpointError: A failed write; the former version is served.
    """
    if keep < 1:
        raise ConfigError(f"keep: expected at least 1 version, found {keep}")
    place = _place(folder, version)
    if place.is_dir():
        raise ConfigError(
            f"version: expected a new name, found {version!r}, which {folder} has; "
            "roll_back makes it the current one again"
        )
    try:
        with contextlib.ExitStack() as until_current:
            with new_folder(place) as draft:
                model.save(draft)
                # From its name on nobody may take the version for an old one.
                until_current.enter_context(_publishing(folder))
            sync_folder(place.parent)
            write_text_atomic(folder / CURRENT, f"{version}\n")
            _prune(folder, keep)
    except OSError as error:
        raise CheckpointError(f"{place}: cannot be written: {error.strerror or error}") from error
    return place / FILE


def roll_back(folder: str | Path, version: str) -> None:
    """Makes a version that a folder has the one that is served.

    Args:
        folder: Of versions.
        version: The name of one.

    Raises:
        ConfigError: There is no such version.
        CheckpointError: Its file is damaged, or `CURRENT` cannot be written; nothing has changed.
    """
    folder = Path(folder)
    with _publishing(folder):
        load_version(folder, version)  # a damaged one is never made current
        write_text_atomic(folder / CURRENT, f"{version}\n")


def current_version(folder: str | Path) -> str | None:
    """The name of the version that a folder serves; None: the folder has no versions.

    Raises:
        CheckpointError: `CURRENT` cannot be read, or holds no name.
    """
    path = Path(folder) / CURRENT
    try:
        name = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: expected the name of a version, found {error}") from None
    if not _NAME.fullmatch(name):
        raise CheckpointError(f"{path}: expected the name of a version, found {name[:100]!r}")
    return name


def versions(folder: str | Path) -> list[str]:
    """The names of a folder's versions, those that were published first first."""
    place = Path(folder) / VERSIONS
    if not place.is_dir():
        return []
    times = dict[str, int]()
    for path in place.iterdir():
        with contextlib.suppress(OSError):  # removed meanwhile
            if _NAME.fullmatch(path.name):
                times[path.name] = (path / FILE).stat().st_mtime_ns
    return sorted(times, key=lambda name: (times[name], name))


def load_version(folder: str | Path, version: str | None = None) -> ServedModel:
    """Reads a version of a folder.

    Args:
        folder: Of versions; where there are none, of a run or of a saved model.
        version: Its name; None: the one that is served.

    Raises:
        ConfigError: There is no such version.
        CheckpointError: The file is missing, damaged or foreign.
    """
    folder = Path(folder)
    if version is not None:
        if not (place := _place(folder, version)).is_dir():
            known = ", ".join(versions(folder)) or "none"
            raise ConfigError(f"version: expected one of {folder}: {known}; found {version!r}")
        return ServedModel.load(place)
    for attempt in range(_ATTEMPTS):
        name = current_version(folder)
        if name is None:
            break
        try:
            return ServedModel.load(_place(folder, name))
        except CheckpointError:
            # A publisher may have removed it since; what is current now is there.
            if attempt + 1 == _ATTEMPTS or current_version(folder) == name:
                raise
    return ServedModel.load(folder)


def refuse_versions(folder: Path) -> None:
    """Raises ConfigError where a folder has versions, beside which no other model is found."""
    if current_version(folder) is not None:
        raise ConfigError(f"{folder}: expected version= for a folder of versions, found none")


def _place(folder: Path, version: str) -> Path:
    """The folder of a version.

    Raises:
        ConfigError: Not the name of a folder.
    """
    if not _NAME.fullmatch(version):
        raise ConfigError(
            "version: expected up to 100 letters, digits and ._+- that begin with a letter, a "
            f"digit or _, found {version[:100]!r}"
        )
    return folder / VERSIONS / version


@contextlib.contextmanager
def _publishing(folder: Path) -> Iterator[None]:
    """A block in which no other process changes what is current, or removes versions."""
    place = folder / VERSIONS
    if not place.is_dir():
        raise ConfigError(f"{folder}: expected a folder of versions, found none")
    with locked(place, "another process publishes there", _WAIT):
        yield


def _prune(folder: Path, keep: int) -> None:
    """Removes all but the latest versions, and what publishers left that did not end."""
    served, place = current_version(folder), folder / VERSIONS
    others = [name for name in versions(folder) if name != served]
    for name in others[: max(len(others) - (keep - 1), 0)]:
        gone = place / f".{name}.gone"
        shutil.rmtree(gone, ignore_errors=True)
        (place / name).replace(gone)  # in one step: no half of a version is ever found
        shutil.rmtree(gone, ignore_errors=True)
    for left in (*place.glob(".*.draft"), *place.glob(".*.gone")):
        with contextlib.suppress(ConfigError, OSError), locked(left, "a publisher writes it"):
            if time.time() - left.stat().st_mtime > _STALE:  # or it is about to be locked
                shutil.rmtree(left, ignore_errors=True)
