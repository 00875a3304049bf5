"""The border between damaged files and the libraries that read them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sif.errors import DataError, SifError, first_line


@contextmanager
def reading(
    place: Path | str, expected: str, passing: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turns any exception of a library on a damaged file into one line.

    Libraries raise what their authors happened upon, so no list of types is complete. Put calls of
    libraries alone inside: there an exception speaks of the file, elsewhere of our own code.

    Args:
        place: The file, with the column or row where it is known.
        expected: The kind of content, such as "a Parquet file".
        passing: Types that the caller handles.

    Raises:
        DataError: The one line; the library's exception is its cause.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (SifError, *passing)):
            raise
        raise DataError(f"{place}: expected {expected}, found: {_found(error)}") from error


def _found(error: Exception) -> str:
    """The fault in words; names of types that say nothing to a reader are left out."""
    if isinstance(error, MemoryError):
        return "a size that does not fit in memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = first_line(error).strip()
    return f"{type(error).__name__} {text}" if isinstance(error, LookupError) else text
