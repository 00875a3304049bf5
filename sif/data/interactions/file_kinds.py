"""Kinds of files by their first bytes: compressed ones are opened, foreign ones named.

A name's ending is only believed where the bytes say nothing: files are renamed, and a download may
bring a page of the server instead.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from sif.data.reading import reading
from sif.errors import DataError
from sif.utils.optional import library

PARQUET, FEATHER = b"PAR1", b"ARROW1"
TABLE = "a table as CSV, TSV, .inter, Parquet or Feather"
_HEAD = 512  # bytes looked at
_TOLD = 3  # files of a zip listed in a message

_FOREIGN = {
    PARQUET: "a compressed Parquet file; unpack it",
    FEATHER: "a compressed Feather file; unpack it",
    b"FEA1": "a Feather file of version 1; write it again",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save it as CSV",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "an SQLite database",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"PK\x03\x04": "a zip in a zip; unpack it",
    b"PK\x05\x06": "an empty zip",
    b"\x1f\x8b": "a file compressed twice; unpack it",
    b"%PDF": "a PDF",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
    b"<?xml": "XML",
}
_JSON = re.compile(rb"\s*(\{\s*[\"}]|\[\s*[\[{\"\]])")


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked if it is gzip, bz2, xz, zst or a zip of one file.

    Raises:
        DataError: A zip of no or several files, or of another program.
    """
    return _OPENERS.get(_compression(path), _open_plain)(path)


def refuse_foreign(path: Path) -> None:
    """Raises a DataError that names the kind of a file that is no table."""
    with reading(path, TABLE), open_bytes(path) as stream:
        head = stream.read(_HEAD)
    kind = next((kind for magic, kind in _FOREIGN.items() if head.startswith(magic)), None)
    if head[257:262] == b"ustar":
        kind = "a tar archive; unpack it"
    elif _JSON.match(head.removeprefix(b"\xef\xbb\xbf")):
        kind = "JSON; convert it"
    if kind is not None:
        raise DataError(f"{path}: expected {TABLE}, found {kind}")


def first_bytes(path: Path) -> bytes:
    """The first bytes of a file as it lies there."""
    with reading(path, TABLE), path.open("rb") as file:
        return file.read(_HEAD)


def is_packed(path: Path) -> bool:
    """True for a file that `open_bytes` unpacks."""
    return _compression(path) in _OPENERS


def _compression(path: Path) -> str:
    """The ending of the compression of a file, by its bytes, else its name; or another ending."""
    head = first_bytes(path)
    return next((e for e, magic in _MAGIC.items() if head.startswith(magic)), path.suffix.lower())


def _open_plain(path: Path) -> BinaryIO:
    return path.open("rb")


def _open_gz(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path))


def _open_bz2(path: Path) -> BinaryIO:
    return cast(BinaryIO, bz2.open(path))


def _open_xz(path: Path) -> BinaryIO:
    return cast(BinaryIO, lzma.open(path))


def _open_zst(path: Path) -> BinaryIO:
    stream = library("pyarrow", str(path), error=DataError).input_stream(path, compression="zstd")
    return cast(BinaryIO, io.BufferedReader(stream))


def _open_zip(path: Path) -> BinaryIO:
    """The one file in a zip."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        names = [name for name in names if not name.startswith("__MACOSX/")]
        if "[Content_Types].xml" in names:
            raise DataError(f"{path}: expected {TABLE}, found an Excel workbook; save it as CSV")
        if names and all(name.endswith(".npy") for name in names):
            raise DataError(f"{path}: expected {TABLE}, found an npz")
        if len(names) != 1:
            told = ", ".join(names[:_TOLD]) + ", ..." * (len(names) > _TOLD)
            found = f"{len(names)}: {told}" if names else "none"
            raise DataError(f"{path}: expected one file in the zip, found {found}")
        return cast(BinaryIO, archive.open(names[0]))


_MAGIC = {
    ".gz": b"\x1f\x8b",
    ".bz2": b"BZh",
    ".xz": b"\xfd7zXZ\x00",
    ".zst": b"\x28\xb5\x2f\xfd",
    ".zip": b"PK\x03\x04",
}
_OPENERS: dict[str, Callable[[Path], BinaryIO]] = {
    ".gz": _open_gz,
    ".bz2": _open_bz2,
    ".xz": _open_xz,
    ".zst": _open_zst,
    ".zip": _open_zip,
}
