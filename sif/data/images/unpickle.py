"""Reads the pickles of the official CIFAR batches without running what is in them.

A pickle may call anything that it names. Here it may name only what an array of bytes needs, and
these names lead to replacements in this module: no constructor of numpy sees a foreign state.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sif.errors import DataError


class ForbiddenGlobal(Exception):
    """A pickle names an object that a batch file does not need."""


class _Type:
    """Stands for `numpy.dtype`; batches hold only bytes."""

    def __init__(self, name: Any, *_: Any) -> None:
        name = name.decode("latin-1") if isinstance(name, bytes) else name
        if name not in ("u1", "|u1"):
            raise ForbiddenGlobal(f"an array of {name!r}")

    def __setstate__(self, _: Any) -> None:
        """Byte order and fields, which single bytes do not have."""


class _Array:
    """Stands for `numpy.ndarray`."""

    value: np.ndarray[Any, np.dtype[np.uint8]]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, _, fortran, content = state
        raw = content.encode("latin-1") if isinstance(content, str) else bytes(content)
        flat = np.frombuffer(raw, dtype=np.uint8)
        self.value = flat.reshape(shape, order="F" if fortran else "C")


class _Call:
    """A function to which a pickle cannot attach attributes."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, _: Any) -> None:
        raise ForbiddenGlobal("a function with a state")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    """Restores bytes, which Python 3 writes as text into the old protocols."""
    if encoding != "latin1":
        raise ForbiddenGlobal(f"_codecs.encode with {encoding!r}")
    return text.encode("latin-1")


ALLOWED: dict[str, Any] = {
    "numpy.core.multiarray._reconstruct": _Call(_reconstruct),
    "numpy._core.multiarray._reconstruct": _Call(_reconstruct),
    "numpy.ndarray": _Array,
    "numpy.dtype": _Type,
    "_codecs.encode": _Call(_encode),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = ALLOWED.get(f"{module}.{name}")
        if allowed is None:
            raise ForbiddenGlobal(f"{module}.{name}")
        return allowed

    def persistent_load(self, pid: Any) -> Any:
        raise ForbiddenGlobal(f"persistent id {pid!r}")


def unpickle_batch(path: Path) -> dict[str, Any]:
    """The entries of a batch or meta file: numbers, texts or bytes, lists of them and uint8 arrays.

    Raises:
        DataError: The file is missing or truncated, is no pickle of a dictionary, or names anything
            beyond arrays of bytes.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: expected a batch file, found no such file") from None
    except OSError as error:
        raise DataError(f"{path}: could not be read: {error.strerror}") from None
    try:
        entries = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except ForbiddenGlobal as error:
        raise DataError(
            f"{path}: expected a pickle of plain values and uint8 arrays, found {error}; not loaded"
        ) from None
    except Exception as error:  # damaged pickles fail in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: expected a whole pickle, found: {reason[:160]}") from None
    if not isinstance(entries, dict):
        raise DataError(f"{path}: expected a dictionary, found a {type(entries).__name__}")
    return {_text(key): _plain(value) for key, value in entries.items()}


def _plain(value: Any) -> Any:
    return getattr(value, "value", None) if isinstance(value, _Array) else value


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def text_list(value: Any) -> tuple[str, ...]:
    """A list of texts or bytes as texts; empty for any other value."""
    return tuple(_text(entry) for entry in value) if isinstance(value, list) else ()
