"""Atomic files: nested state as one safetensors file, and small text and JSON files.

`save` takes nested dicts, lists and tuples of tensors, numpy arrays and plain values; `load` gives
back the same structure with the same bits. Tensors go into the safetensors body, everything else
into a JSON skeleton in its header, so nothing is ever unpickled. A digest of both tells a file with
one changed bit from the one that was written. A file appears under its name only when it is
complete and on disk; until then the former one stays.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from sif.errors import MALFORMED, CheckpointError, ConfigError, DamagedError, DataError, first_line
from sif.utils.locks import locked

FORMAT = 1
NOT_FINITE = "not_finite"
"""Key of a document that holds the reason of each `null` in the place of a number."""
_DAMAGED: tuple[type[Exception], ...] = (SafetensorError, *MALFORMED)
_HEADER_LIMIT = 100_000_000  # bytes; safetensors refuses longer headers


def save(path: Path, state: Any, kind: str) -> None:
    """Writes `state` to `path`, replacing a former file only once the new one is complete.

    Args:
        path: The file; its folder is made if needed.
        state: Nested dicts (str or int keys), lists and tuples of tensors, numpy arrays (numeric,
            bool or text), numbers, strings, bools and None. numpy scalars become Python numbers.
        kind: Kind of content, e.g. 'search'; `load` insists on it.

    Raises:
        CheckpointError: A value that cannot be stored (named by its place), or a failed write.
    """
    tensors: dict[str, torch.Tensor] = {}
    skeleton = _encode(state, kind, tensors)
    header = {"format": FORMAT, "kind": kind, "state": skeleton}
    header["digest"] = _digest(header, tensors)
    for tensor in tensors.values():
        if tensor.dtype not in _DTYPES:
            raise CheckpointError(f"{path}: state cannot be stored: a tensor of {tensor.dtype}")
    _write_atomic(path, _pieces(tensors, {"sif": json.dumps(header)}))


_DTYPES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16",
    torch.int32: "I32", torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float32: "F32", torch.float64: "F64", torch.uint16: "U16", torch.uint32: "U32",
    torch.uint64: "U64",
}  # fmt: skip
"""Types of tensors by their names in the format."""


def _pieces(
    tensors: dict[str, torch.Tensor], metadata: dict[str, str]
) -> Iterator[bytes | memoryview]:
    """A safetensors file piece by piece; the library's own writer copies all tensors twice."""
    # Larger elements first, so that all are aligned.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    entries: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in order:
        tensor, begin = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }  # fmt: skip
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in order:
        yield _bytes(tensors[name])


def _bytes(tensor: torch.Tensor) -> bytes | memoryview:
    """The bytes of a contiguous tensor."""
    if not tensor.numel():
        return b""
    # The stride of a single element may be 0, which no view as bytes takes.
    flat = tensor.reshape(-1).as_strided((tensor.numel(),), (1,), tensor.storage_offset())
    return memoryview(flat.view(torch.uint8).numpy().data)


def load(path: Path, kind: str) -> Any:
    """Reads what `save` wrote; tensors come back on the CPU, without gradient.

    Raises:
        DamagedError: The file is truncated or damaged, or no checkpoint at all.
        CheckpointError: It is missing, of another format version, or of another kind.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    header = _read_header(Path(path), data)
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: written in format version {header.get('format')!r}, this sif reads {FORMAT}"
        )
    try:
        tensors = safetensors.torch.load(data)
        # Files of version 0.1 have none.
        if "digest" in header and header.pop("digest") != _digest(header, tensors):
            raise ValueError("the content is not what was written")
        state = _decode(header["state"], tensors)
    except _DAMAGED as error:
        raise DamagedError(f"{path}: truncated or damaged: {first_line(error)}") from error
    if header.get("kind") != kind:
        raise CheckpointError(f"{path}: expected a {kind!r} file, found {header.get('kind')!r}")
    return state


def _digest(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of a header and of the names, types, shapes and bytes of its tensors."""
    sha = hashlib.sha256(json.dumps(header).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(_bytes(tensor))
    return sha.hexdigest()


def _read_header(path: Path, data: bytes) -> dict[str, Any]:
    """The JSON object that `save` put into the safetensors header."""
    foreign = DamagedError(f"{path}: expected a sif checkpoint, found another kind of file")
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= size <= _HEADER_LIMIT:
        raise foreign
    if len(data) < 8 + size:
        raise DamagedError(
            f"{path}: truncated: the header needs {8 + size} bytes, the file has {len(data)}"
        )
    try:
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["sif"])
    except MALFORMED as error:
        raise foreign from error
    if not isinstance(header, dict):
        raise foreign
    return header


# A skeleton node is a JSON scalar, standing for itself, or an object with exactly one key that
# names the container or array type.


def _encode(value: Any, place: str, tensors: dict[str, torch.Tensor]) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor):
        return {"tensor": _store(value, tensors)}
    if isinstance(value, np.ndarray):
        return _encode_array(value, place, tensors)
    if isinstance(value, np.generic):
        return _encode(value.item(), place, tensors)
    if isinstance(value, dict):
        for key in value:
            if type(key) not in (int, str):
                raise CheckpointError(f"{place}: expected keys of int or str, found {key!r}")
        pairs = [[k, _encode(v, f"{place}[{k!r}]", tensors)] for k, v in value.items()]
        return {"dict": pairs}
    if type(value) in (list, tuple):
        items = [_encode(item, f"{place}[{i}]", tensors) for i, item in enumerate(value)]
        return {type(value).__name__: items}
    raise CheckpointError(
        f"{place}: a value of type {type(value).__name__} cannot be stored in a checkpoint"
    )


def _encode_array(array: Any, place: str, tensors: dict[str, torch.Tensor]) -> Any:
    if array.dtype.kind == "U":
        # A text array is its UTF-32 code units, one more axis for the characters.
        width = array.dtype.itemsize // 4
        units = np.ascontiguousarray(array, dtype=f"<U{width}").reshape(-1).view(np.uint32)
        stored = _store(torch.from_numpy(units.reshape(*array.shape, width).copy()), tensors)
        return {"text": [stored, width]}
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise CheckpointError(f"{place}: an array of dtype {array.dtype} cannot be stored")
    native = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    return {"array": _store(torch.from_numpy(native), tensors)}


def _store(tensor: torch.Tensor, tensors: dict[str, torch.Tensor]) -> str:
    name = str(len(tensors))
    tensors[name] = tensor.detach().cpu().contiguous()
    return name


def _decode(node: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(node, dict):
        return node
    ((name, content),) = node.items()
    return _DECODERS[name](content, tensors)


def _decode_text(content: list[Any], tensors: dict[str, torch.Tensor]) -> Any:
    stored, width = content
    units = tensors[stored].numpy()
    if width == 0 or units.size == 0:
        return np.empty(units.shape[:-1], dtype=f"<U{width}")
    return np.ascontiguousarray(units).view(f"<U{width}")[..., 0]


_DECODERS: dict[str, Callable[[Any, dict[str, torch.Tensor]], Any]] = {
    "tensor": lambda content, tensors: tensors[content],
    "array": lambda content, tensors: tensors[content].numpy(),
    "text": _decode_text,
    "dict": lambda content, tensors: {k: _decode(v, tensors) for k, v in content},
    "list": lambda content, tensors: [_decode(item, tensors) for item in content],
    "tuple": lambda content, tensors: tuple(_decode(item, tensors) for item in content),
}


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Writes a file so that `path` holds either all of `data` or what it held before.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written; nothing has changed.
    """
    _write_atomic(Path(path), [data])


def _write_atomic(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """The same of a file in pieces."""
    # One fixed name beside the file: what a killed process left is overwritten by the next write.
    unfinished = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(unfinished, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_text_atomic(path: Path, text: str) -> None:
    """Writes UTF-8 text as `write_bytes_atomic` does."""
    write_bytes_atomic(path, text.encode())


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A draft that becomes the folder once all is written; it is removed where something fails.

    Raises:
        ConfigError: Another process makes the same folder, or has made it.
    """
    draft = folder.with_name(f".{folder.name}.draft")
    draft.mkdir(parents=True, exist_ok=True)
    with locked(draft, f"another process is making {folder.name}"):
        try:
            yield draft
            draft.replace(folder)
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise ConfigError(f"{folder}: another process has just made it") from None
            raise
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def finite_document(document: Mapping[str, Any], reasons: Mapping[str, str]) -> dict[str, Any]:
    """A document in which `None` stands for every number that is not finite, which JSON lacks.

    Args:
        document: Nested mappings, lists and tuples of plain values.
        reasons: Place, such as "comparison.low", to the reason of a number there.

    Returns:
        The document with lists in the place of tuples. Where something is not finite, the entry
        "not_finite" has its place and the reason, where none is known the value. The elements of a
        list share its place.
    """
    found: dict[str, str] = {}
    plain: dict[str, Any] = _finite(document, "", found)
    if found:
        plain[NOT_FINITE] = {place: reasons.get(place, told) for place, told in found.items()}
    return plain


def _finite(value: Any, place: str, found: dict[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _finite(one, f"{place}.{key}".lstrip("."), found) for key, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_finite(one, place, found) for one in value]
    if isinstance(value, (float, np.floating)) and not math.isfinite(value):
        found.setdefault(place, f"found {value}")
        return None
    return value


def with_nan(document: Mapping[str, Any]) -> Any:
    """A document of `finite_document` with NaN for the numbers that were not finite."""
    return _with_nan(document, "", document.get(NOT_FINITE, {}))


def _with_nan(value: Any, place: str, places: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {k: _with_nan(one, f"{place}.{k}".lstrip("."), places) for k, one in value.items()}
    if isinstance(value, list):
        return [_with_nan(one, place, places) for one in value]
    return math.nan if value is None and place in places else value


def write_json_atomic(path: Path, value: Any) -> None:
    """Writes indented JSON as `write_bytes_atomic` does; numpy scalars become numbers.

    Raises:
        CheckpointError: A failed write, or a NaN or infinite number, which JSON does not have.
    """
    try:
        text = json.dumps(value, indent=2, allow_nan=False, default=_plain)
    except ValueError as error:
        raise CheckpointError(f"{path}: expected finite numbers only: {error}") from error
    write_text_atomic(path, text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


def sync_folder(folder: Path) -> None:
    """Makes the rename itself durable; only POSIX systems allow and need it."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class NoCheckpoint:
    """Stores nothing, for loops that are never resumed."""

    def restore(self) -> None:
        """No state."""

    def offer(self, state: object) -> None:
        """Stores nothing."""
