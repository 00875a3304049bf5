"""Text files as records: separators recognized, values with the line they stand on.

Slow but exact: used for the first lines of a file and to find a bad value, never for all of it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from sif.data.interactions.file_kinds import open_bytes
from sif.data.reading import reading
from sif.errors import DataError

WHITESPACE = r"\s+"
_SEPARATORS = ("\t", "::", ";", "|", ",", WHITESPACE)
_PIECE = 1 << 20  # bytes read at once
_PEEK = 20  # records looked at to recognize the separator
_LONGEST_LINE = 1 << 22  # bytes; a small compressed file may hold one of any length
TEXT = "a table of text"
_TOLD = 20  # bytes quoted in a message
_BLANK = re.compile(rb"(?:(?<=[\r\n])|\A)\r(?!\n)")
"""A blank line that ends in a carriage return: pandas would drop a separator behind it."""
_BREAKS = '\n\r"\0'


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


def check_separator(separator: str) -> None:
    """Refuses a separator that cannot stand between cells.

    Raises:
        DataError: It is empty, or has a line break, a quote or a NUL character.
    """
    if not separator or set(separator) & set(_BREAKS):
        raise DataError(
            "data.separator: expected one or more characters without line breaks and quotes, "
            f"found {separator!r}"
        )


def is_replaced(separator: str) -> bool:
    """True if a separator of several bytes is turned into a tab before parsing."""
    return len(separator.encode()) > 1 and separator != WHITESPACE


def open_replaced(path: Path, separator: str) -> BinaryIO:
    """The bytes of a text file, a separator of several bytes replaced by a tab.

    Reading them raises a DataError at a NUL character, at which parsers end a cell, and at a line
    of more than 4 MiB.
    """
    # pandas takes a separator of several characters only in its slow parser (ten times slower).
    between = separator.encode() if is_replaced(separator) else b"\t"
    return cast(BinaryIO, io.BufferedReader(_Text(path, between), _PIECE))


class _Text(io.RawIOBase):
    """The checked bytes of a text file, in which a separator reads as a tab, a piece at a time."""

    def __init__(self, path: Path, separator: bytes) -> None:
        self._path, self._stream, self._separator = path, open_bytes(path), separator
        self._ready = b""
        self._lines = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Implements `io.RawIOBase.readinto`."""
        if not self._ready:
            # To the end of a line, so that no separator is cut in two.
            piece, rest = self._stream.read(_PIECE), self._stream.readline(_LONGEST_LINE)
            piece += rest
            self._check(piece)
            if len(rest) == _LONGEST_LINE and not rest.endswith(b"\n"):
                raise DataError(
                    f"{self._path} line {self._lines + 1}: expected fewer than "
                    f"{_LONGEST_LINE:,} bytes, found more"
                )
            if b"\r" in piece:
                piece = _BLANK.sub(b"\n", piece)
            self._ready = piece.replace(self._separator, b"\t")
        n = min(len(buffer), len(self._ready))
        buffer[:n], self._ready = self._ready[:n], self._ready[n:]
        return n

    def _check(self, piece: bytes) -> None:
        """Refuses a NUL character, at which parsers end a cell."""
        nul = piece.find(b"\0")
        if nul >= 0:
            line = piece[piece.rfind(b"\n", 0, nul) + 1 : nul]
            line.decode("utf-8")  # text that is none is told as such
            number = self._lines + piece.count(b"\n", 0, nul) + 1
            shown = line[-_TOLD:].decode("utf-8", "replace")
            raise DataError(
                f"{self._path} line {number}: expected text without NUL characters, found one "
                f"after {shown!r}"
            )
        self._lines += piece.count(b"\n")

    def close(self) -> None:
        """Closes the stream below as well."""
        self._stream.close()
        super().close()


def records(path: Path, separator: str, quoting: int) -> Iterator[tuple[int, list[str]]]:
    """Line number (from 1) and values of every record, blank lines left out as pandas does."""
    try:
        with (
            reading(path, TEXT, (UnicodeDecodeError,)),
            # The separator of `records` is not replaced.
            io.TextIOWrapper(open_replaced(path, "\t"), encoding="utf-8-sig", newline="") as text,
        ):
            if separator == WHITESPACE or is_replaced(separator):
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


def not_text(path: Path) -> DataError:
    """The error that names the first line that is not UTF-8."""
    with reading(path, TEXT), open_bytes(path) as stream:
        for line, content in enumerate(iter(partial(stream.readline, _LONGEST_LINE), b""), start=1):
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
        widths = [len(cells) for _, cells in islice(records(path, separator, quoting), _PEEK)]
        if not widths:  # blank lines alone
            break
        agreeing = sum(width == widths[0] for width in widths) if widths[0] > 1 else 0
        if agreeing > best_count:
            best, best_count = separator, agreeing
    return best
