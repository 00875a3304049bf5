"""Text files as records: separators recognized, values with the line they stand on.

Slow but exact: used for the first lines of a file and to find a bad value, never for all of it.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from sif.errors import DataError

WHITESPACE = r"\s+"
_SEPARATORS = ("\t", "::", ";", "|", ",", WHITESPACE)
_PIECE = 1 << 20  # bytes read at once
_PEEK = 20  # records looked at to recognize the separator


def spell(separator: str) -> str:
    """A separator as messages write it."""
    return {"\t": "tab", WHITESPACE: "spaces"}.get(separator, repr(separator))


def is_number(text: str) -> bool:
    """True if a text can be read as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_replaced(separator: str) -> bool:
    """True if a separator of several characters is turned into a tab before parsing."""
    return len(separator) > 1 and separator != WHITESPACE


def open_replaced(path: Path, separator: str) -> BinaryIO:
    """The bytes of a file, a separator of several characters replaced by a tab."""
    stream = _open_bytes(path)
    if not is_replaced(separator):
        return stream
    # pandas takes a separator of several characters only in its slow parser (ten times slower).
    return cast(BinaryIO, io.BufferedReader(_Replaced(stream, separator.encode()), _PIECE))


class _Replaced(io.RawIOBase):
    """A stream of bytes in which a separator reads as a tab, a piece at a time."""

    def __init__(self, stream: BinaryIO, separator: bytes) -> None:
        self._stream, self._separator = stream, separator
        self._ready = b""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Implements `io.RawIOBase.readinto`."""
        if not self._ready:
            # To the end of a line, so that no separator is cut in two.
            piece = self._stream.read(_PIECE) + self._stream.readline()
            self._ready = piece.replace(self._separator, b"\t")
        n = min(len(buffer), len(self._ready))
        buffer[:n], self._ready = self._ready[:n], self._ready[n:]
        return n

    def close(self) -> None:
        """Closes the stream below as well."""
        self._stream.close()
        super().close()


def _open_bytes(path: Path) -> BinaryIO:
    if path.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


def records(path: Path, separator: str, quoting: int) -> Iterator[tuple[int, list[str]]]:
    """Line number (from 1) and values of every record, blank lines left out as pandas does."""
    try:
        with io.TextIOWrapper(_open_bytes(path), encoding="utf-8-sig", newline="") as text:
            if len(separator) > 1:
                between = None if separator == WHITESPACE else separator
                for line, content in enumerate(text, start=1):
                    if content.strip():
                        yield line, content.rstrip("\r\n").split(between)
                return
            reader = csv.reader(text, delimiter=separator, quoting=cast(Any, quoting))
            end = 0
            for values in reader:
                start, end = end + 1, reader.line_num
                if len(values) > 1 or (values and values[0].strip()):
                    yield start, values
    except UnicodeDecodeError:
        raise not_text(path) from None
    except (csv.Error, OSError, EOFError) as error:
        raise DataError(f"{path}: expected a table of text, found: {error}") from None


def not_text(path: Path) -> DataError:
    """The error that names the first line that is not UTF-8."""
    with _open_bytes(path) as stream:
        for line, content in enumerate(stream, start=1):
            try:
                content.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{content[error.start]:02x}"
                return DataError(f"{path} line {line}: expected UTF-8 text, found {byte}")
    return DataError(f"{path}: expected UTF-8 text, found other bytes")


def sniff(path: Path, quoting: int) -> str:
    """The separator that cuts most of the first records into as many values as the first."""
    best, best_count = ",", 0
    for separator in _SEPARATORS:
        widths = [len(values) for _, values in islice(records(path, separator, quoting), _PEEK)]
        agreeing = sum(width == widths[0] for width in widths) if widths and widths[0] > 1 else 0
        if agreeing > best_count:
            best, best_count = separator, agreeing
    return best
