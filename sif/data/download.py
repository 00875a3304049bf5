"""Find an official data folder on disk, or download and unpack it.

Looked for in the folder the user names, `$SIF_DATA_DIR` and `datasets/raw/`, in this order. A
download is checked against its MD5 and unpacked beside its final place, then moved there in one
step, so that nothing half-written is ever found; the same holds for what is published file by file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import stat
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sif.config import shipped
from sif.errors import DataError

ENVIRONMENT = "SIF_DATA_DIR"
_TIMEOUT = 30  # seconds without an answer


@dataclass(frozen=True)
class Archive:
    """Where a data set comes from.

    Attributes:
        name: Of the data set.
        url: Of its zip or tar file.
        md5: Checksum of that file; None where the publisher revises it.
        folder: What the file unpacks to.
        files: Must be in the folder.
    """

    name: str
    url: str
    md5: str | None
    folder: str
    files: tuple[str, ...]

    @property
    def zip_name(self) -> str:
        """File name of the archive."""
        return PurePosixPath(self.url).name


@dataclass(frozen=True)
class SingleFiles:
    """Where a data set comes from that is published file by file.

    Attributes:
        name: Of the data set.
        url: Of the folder that holds the files, with a slash at its end.
        md5s: File name to checksum.
        folder: Where the files go.
    """

    name: str
    url: str
    md5s: Mapping[str, str]
    folder: str


def raw_folder() -> Path:
    """Where downloads go by default: `datasets/raw/` of the checkout or the working directory."""
    recipes = shipped("datasets")
    in_checkout = (recipes.parent / "run.py").is_file()
    return (recipes if in_checkout else Path.cwd() / "datasets") / "raw"


def search_folders(data_dir: Path | None) -> list[Path]:
    """Where data are looked for, in order."""
    folders = [data_dir] if data_dir is not None else []
    if os.environ.get(ENVIRONMENT):
        folders.append(Path(os.environ[ENVIRONMENT]))
    return [*folders, raw_folder()]


def locate(archive: Archive, data_dir: Path | None) -> tuple[Path, list[str]]:
    """The folder of a data set, downloaded if it is nowhere on disk.

    Args:
        archive: Where it comes from.
        data_dir: Looked at first, and where a download goes; `datasets/raw/` by default.

    Returns:
        The folder and notes.

    Raises:
        DataError: It is not there and could not be downloaded; the message says what to put where.
    """
    folders = search_folders(data_dir)
    for base in folders:
        named = [base] if base.name in (archive.folder, archive.name) else []
        for folder in (base / archive.folder, base / archive.name, *named):
            if all((folder / name).is_file() for name in archive.files):
                return folder, []
    target = data_dir if data_dir is not None else raw_folder()
    for folder in (target / archive.folder, target / archive.name):
        if folder.is_dir():
            raise DataError(f"{folder}: expected {', '.join(archive.files)} in it, found not all")
    for base in folders:
        if (base / archive.zip_name).is_file():
            _verify(base / archive.zip_name, archive)
            return unpack(base / archive.zip_name, target, archive.folder), []
    return _download(archive, target, folders)


def _verify(path: Path, archive: Archive) -> None:
    if archive.md5 is None:
        return
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    if found != archive.md5:
        raise DataError(f"{path}: expected MD5 {archive.md5}, found {found}")


def locate_files(files: SingleFiles, data_dir: Path | None) -> tuple[Path, list[str]]:
    """The folder of a data set of single files, downloaded if it is nowhere on disk; see `locate`.

    Raises:
        DataError: It is not there and could not be downloaded; the message says what to put where.
    """
    folders = search_folders(data_dir)
    for base in folders:
        if all((base / files.folder / name).is_file() for name in files.md5s):
            return base / files.folder, []
    target = data_dir if data_dir is not None else raw_folder()
    if (target / files.folder).is_dir():
        told = ", ".join(files.md5s)
        raise DataError(f"{target / files.folder}: expected {told} in it, found not all")
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=".fetch-") as scratch:
            whole = Path(scratch) / "whole"
            whole.mkdir()
            for name, md5 in files.md5s.items():
                _retrieve(files.url + name, md5, Path(scratch))
                # A copy has the rights of a new file; a download can be read by its owner alone.
                shutil.copyfile(Path(scratch) / name, whole / name)
            os.replace(whole, target / files.folder)
    except (OSError, ValueError, ImportError) as error:  # requests' errors are OSErrors
        wanted = f"{files.folder}/{next(iter(files.md5s))}"
        told = f"put {', '.join(files.md5s)} into {target / files.folder}"
        raise _not_fetched(files, wanted, folders, target, error, told) from None
    return target / files.folder, [f"downloaded {files.url}{{{','.join(files.md5s)}}}"]


def _download(archive: Archive, target: Path, folders: list[Path]) -> tuple[Path, list[str]]:
    try:
        _retrieve(archive.url, archive.md5, target)
    except (OSError, ValueError, ImportError) as error:  # requests' errors are OSErrors
        wanted = f"{archive.folder}/{archive.files[0]}"
        told = f"put {archive.zip_name} or the folder {archive.folder}/ into {target}"
        raise _not_fetched(archive, wanted, folders, target, error, told) from None
    folder = unpack(target / archive.zip_name, target, archive.folder)
    (target / archive.zip_name).unlink()
    note = f"downloaded {archive.url}"
    return folder, [note if archive.md5 else f"{note} (no published checksum to compare with)"]


def _retrieve(url: str, md5: str | None, target: Path) -> None:
    """Download one file into a folder under its own name, checked.

    Raises:
        OSError: No network, or no such place.
        ValueError: Another checksum.
        ImportError: pooch is not installed.
    """
    import pooch

    pooch.get_logger().setLevel("ERROR")
    pooch.retrieve(
        url,
        known_hash=None if md5 is None else f"md5:{md5}",
        fname=PurePosixPath(url).name,
        path=target,
        downloader=pooch.HTTPDownloader(progressbar=_shows_progress(), timeout=_TIMEOUT),
    )


def _not_fetched(
    source: Archive | SingleFiles, wanted: str, folders: list[Path], target: Path,
    error: Exception, told: str,
) -> DataError:  # fmt: skip
    """What to say when a download failed; takes away what it left."""
    with suppress(OSError):
        target.rmdir()  # only if this attempt left it empty
    reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
    searched = ", ".join(str(folder) for folder in folders)
    return DataError(
        f"{source.name}: expected {wanted} in one of: {searched}; found none, and {source.url}"
        f" could not be fetched ({type(error).__name__}: {reason[:160]}); {told}"
    )


def _shows_progress() -> bool:
    return sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None


def unpack(archive_path: Path, target: Path, folder: str) -> Path:
    """Unpack one folder of a zip or tar file, whole or not at all.

    Args:
        archive_path: The archive; one with ".tar" or ".tgz" in its name is a tar file.
        target: Where the folder goes; made if needed.
        folder: Top-level folder in the archive.

    Returns:
        `target / folder`.

    Raises:
        DataError: The archive is damaged, lacks the folder, or names a path outside it.
    """
    is_tar = any(suffix in (".tar", ".tgz") for suffix in archive_path.suffixes)
    kind, check, extract = _TAR if is_tar else _ZIP
    try:
        check(archive_path)
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=".unpack-") as scratch:
            extract(archive_path, Path(scratch))
            if not (Path(scratch) / folder).is_dir():
                raise DataError(f"{archive_path}: expected the folder {folder}/ in it, found none")
            os.replace(Path(scratch) / folder, target / folder)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError) as e:
        raise DataError(f"{archive_path}: expected a {kind} file, found: {e}") from None
    except OSError as error:
        raise DataError(f"{archive_path}: could not be unpacked into {target}: {error}") from None
    return target / folder


def _check_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in _members(archive):
            _refuse_unsafe(path, member.filename, stat.S_ISLNK(member.external_attr >> 16))


def _extract_zip(path: Path, scratch: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(scratch, _members(archive))  # noqa: S202 (checked before)


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [member for member in archive.infolist() if not member.filename.startswith("__MACOSX/")]


def _check_tar(path: Path) -> None:
    with tarfile.open(path) as archive:
        for member in archive:
            _refuse_unsafe(path, member.name, not (member.isfile() or member.isdir()))


def _extract_tar(path: Path, scratch: Path) -> None:
    """Plain files alone; their folders are made for them, with the rights of new ones."""
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                place = scratch / member.name
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as copy:
                    shutil.copyfileobj(content, copy)


_Step = tuple[str, Callable[[Path], None], Callable[[Path, Path], None]]
_ZIP: _Step = ("zip", _check_zip, _extract_zip)
_TAR: _Step = ("tar", _check_tar, _extract_tar)


def _refuse_unsafe(path: Path, name: str, is_special: bool) -> None:
    outside = PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts
    foreign = "\\" in name or ":" in name
    if outside or foreign or is_special:
        raise DataError(f"{path}: expected plain paths below it, found {name!r}")
