"""Finds an official data folder on disk, or downloads and unpacks it.

A download is checked against its MD5, unpacked beside its final place and moved there in one step,
so that no half-written folder is ever used. The same holds for data published as single files.
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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from sif.config import shipped
from sif.errors import DataError

ENVIRONMENT = "SIF_DATA_DIR"
_TIMEOUT = 30  # seconds without an answer


@dataclass(frozen=True, kw_only=True)
class Source:
    """The origin of a data set.

    Attributes:
        name: Of the data set.
        url: Of its zip or tar file; of the folder above single files, with a slash at its end; ""
            where it is published nowhere.
        md5: Checksum of the archive; None where the publisher revises it.
        md5s: File name to checksum, for files published one by one; empty for an archive.
        folder: Folder in the archive, or folder for single files.
        files: Must be in the folder.
    """

    name: str
    url: str = ""
    md5: str | None = None
    md5s: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    files: tuple[str, ...] = ()

    @property
    def archive(self) -> str:
        """File name of the archive."""
        return PurePosixPath(self.url).name


def raw_folder() -> Path:
    """The default folder of downloads: `datasets/raw/` of the checkout or working directory."""
    recipes = shipped("datasets")
    in_checkout = (recipes.parent / "run.py").is_file()
    return (recipes if in_checkout else Path.cwd() / "datasets") / "raw"


def search_folders(data_dir: Path | None) -> list[Path]:
    """The folders that are searched for data, in order."""
    folders = [data_dir] if data_dir is not None else []
    if os.environ.get(ENVIRONMENT):
        folders.append(Path(os.environ[ENVIRONMENT]))
    return [*folders, raw_folder()]


def first_folder(base: Path, names: Sequence[str], holds: Callable[[Path], bool]) -> Path | None:
    """The first folder with one of the names that satisfies `holds`: below `base`, or `base`."""
    itself = [base] if base.name in names else []
    return next((f for f in (*(base / name for name in names), *itself) if holds(f)), None)


def on_disk(
    source: Source, data_dir: Path | None, find: Callable[[Path], Path | None] | None = None
) -> Path | None:
    """The folder of a data set that lies unpacked in one of the searched folders, or None.

    Args:
        source: Its origin.
        data_dir: Looked at first.
        find: See `locate`.
    """

    def is_whole(folder: Path) -> bool:
        return all((folder / name).is_file() for name in source.files)

    def found(base: Path) -> Path | None:
        return first_folder(base, _names(source), is_whole) if find is None else find(base)

    return next(filter(None, map(found, search_folders(data_dir))), None)


def _names(source: Source) -> tuple[str, ...]:
    return tuple(dict.fromkeys((source.folder, source.name)))


def locate(
    source: Source, data_dir: Path | None, find: Callable[[Path], Path | None] | None = None
) -> tuple[Path, list[str]]:
    """The folder of a data set, downloaded if it is not on disk, and notes.

    Args:
        source: Its origin.
        data_dir: Looked at first, and where a download goes; `datasets/raw/` by default.
        find: A place to the data set in it, or None; by default a folder with all files.

    Raises:
        DataError: It is absent and could not be downloaded; the message says which file goes where.
    """
    data_folder = on_disk(source, data_dir, find)
    if data_folder is not None:
        return data_folder, []
    names, bases = _names(source), search_folders(data_dir)
    if not source.url:
        raise DataError(_nowhere(source, bases))
    target = data_dir if data_dir is not None else raw_folder()
    for folder in (target / name for name in names):
        if folder.is_dir():
            files = ", ".join(source.files)
            raise DataError(f"{folder}: expected {files} in it, found only some of them")
    for path in (base / source.archive for base in bases):
        if not source.md5s and path.is_file():
            _verify(path, source)
            return unpack(path, target, source.folder), []
    return target / source.folder, [_download(source, target, bases)]


def file_md5(path: Path) -> str:
    """Checksum of a file, in hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def _verify(path: Path, source: Source) -> None:
    if source.md5 is None:
        return
    md5 = file_md5(path)
    if md5 != source.md5:
        raise DataError(f"{path}: expected MD5 {source.md5}, found {md5}")


def _nowhere(source: Source, bases: Sequence[Path]) -> str:
    example = PurePosixPath(source.folder) / source.files[0]
    searched = ", ".join(str(base) for base in bases)
    return f"{source.name}: expected {example} in one of: {searched}; found none"


def _download(source: Source, target: Path, bases: Sequence[Path]) -> str:
    """Downloads the published files; returns a note."""
    try:
        if source.md5s:
            return _fetch_files(source, target)
        _retrieve(source.url, source.md5, target)
    except (OSError, ValueError, ImportError) as error:  # requests' errors are OSErrors
        with suppress(OSError):
            target.rmdir()  # only if this attempt left it empty
        reason = (str(error).strip().splitlines() or [""])[0]
        put = (
            f"{', '.join(source.md5s)} into {source.folder}/ there"
            if source.md5s
            else f"{source.archive} or the folder {source.folder}/ there"
        )
        raise DataError(
            f"{_nowhere(source, bases)}, and {source.url}"
            f" could not be fetched ({type(error).__name__}: {reason[:80]}); put {put}"
        ) from None
    unpack(target / source.archive, target, source.folder)
    (target / source.archive).unlink()
    note = f"downloaded {source.url}"
    return note if source.md5 else f"{note} (no published checksum to compare with)"


def _fetch_files(source: Source, target: Path) -> str:
    """Downloads single files beside their place, and moves all of them there at once."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".fetch-") as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        for name, md5 in source.md5s.items():
            _retrieve(source.url + name, md5, Path(scratch))
            # A copy has the rights of a new file; a download can be read by its owner alone.
            shutil.copyfile(Path(scratch) / name, whole / name)
        os.replace(whole, target / source.folder)
    return f"downloaded {source.url}{{{','.join(source.md5s)}}}"


def _retrieve(url: str, md5: str | None, target: Path) -> None:
    """Downloads one file into a folder under its own name, checked.

    Raises OSError without network or such a place, ValueError for another checksum.
    """
    import pooch

    pooch.get_logger().setLevel("ERROR")
    shows = sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
    pooch.retrieve(
        url,
        known_hash=None if md5 is None else f"md5:{md5}",
        fname=PurePosixPath(url).name,
        path=target,
        downloader=pooch.HTTPDownloader(progressbar=shows, timeout=_TIMEOUT),
    )


def unpack(archive_path: Path, target: Path, folder: str) -> Path:
    """Unpacks one folder of a zip or tar file, completely or not at all.

    Args:
        archive_path: The archive; one with ".tar" or ".tgz" in its name is a tar file.
        target: Parent of the folder; made if needed.
        folder: Top-level folder in the archive.

    Returns:
        `target / folder`.

    Raises:
        DataError: The archive is damaged, lacks the folder, or names a path outside it.
    """
    is_tar = any(suffix in (".tar", ".tgz") for suffix in archive_path.suffixes)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=".unpack-") as scratch:
            (_extract_tar if is_tar else _extract_zip)(archive_path, Path(scratch))
            if not (Path(scratch) / folder).is_dir():
                raise DataError(f"{archive_path}: expected the folder {folder}/ in it, found none")
            os.replace(Path(scratch) / folder, target / folder)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError) as e:
        kind = "tar" if is_tar else "zip"
        raise DataError(f"{archive_path}: expected a {kind} file, found: {e}") from None
    except OSError as error:
        raise DataError(f"{archive_path}: could not be unpacked into {target}: {error}") from None
    finally:
        with suppress(OSError):
            target.rmdir()  # only if nothing is in it
    return target / folder


def _extract_tar(path: Path, scratch: Path) -> None:
    """Python's filter for data refuses paths and links that lead outside, and devices."""
    with tarfile.open(path) as archive:
        try:
            archive.extractall(scratch, filter="data")
        except tarfile.FilterError as error:
            raise _unsafe(path, error.tarinfo.name) from None


def _extract_zip(path: Path, scratch: Path) -> None:
    """Refuses paths that lead outside; zipfile would rename them, and write links as files."""
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if not m.filename.startswith("__MACOSX/")]
        for name, mode in ((m.filename, m.external_attr >> 16) for m in members):
            outside = PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts
            if outside or "\\" in name or ":" in name or stat.S_ISLNK(mode):
                raise _unsafe(path, name)
        archive.extractall(scratch, members)  # noqa: S202 (checked before)


def _unsafe(path: Path, name: str) -> DataError:
    return DataError(f"{path}: expected plain paths below it, found {name!r}")
