"""Places of tensors on a machine that has only the CPU: rules of a pretended accelerator.

Every storage has a place, so a view lies where its tensor lies. A storage that nobody has placed
lies on the CPU. What torch's own code makes inside a function or a backward pass, such as the zeros
of a gradient, has no place until it meets a tensor that has one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sif.testing.promises import ContractError

CPU = torch.device("cpu")
_NOWHERE = "nowhere yet"
_INDEXED = ("index", "_unsafe_index", "index_put", "index_put_", "_unsafe_index_put")
_TAKES_SCALARS = ("_foreach_", "masked_fill", "index_fill", "fill_")
"""Begin the names of functions that take a number in a tensor on the CPU, beside pointwise ones."""
_HERE = os.path.dirname(__file__) + os.sep
_TORCH = os.path.dirname(torch.__file__) + os.sep


class MixedDevicesError(ContractError):
    """A function that got tensors of two devices.

    Examples:
        >>> from sif.testing import Accelerator
        >>> with Accelerator() as gpu:
        ...     torch.ones(2, device=gpu.device) + torch.ones(2)
        Traceback (most recent call last):
        sif.testing.places.MixedDevicesError: ...
    """


def parts_of(tensor: Tensor) -> list[Tensor]:
    """The dense tensors that a tensor consists of, its values first."""
    if tensor.layout is torch.strided:
        return [tensor]
    if tensor.layout is torch.sparse_coo:
        return [tensor._values(), tensor._indices()]
    return [tensor.values(), tensor.crow_indices(), tensor.col_indices()]


def place_of(tensor: Tensor) -> torch.device | None:
    """The place of a tensor; None: any."""
    place = getattr(parts_of(tensor)[0].untyped_storage(), "sif_place", CPU)
    return None if place is _NOWHERE else place


def put(tensor: Tensor, place: torch.device | None) -> None:
    """Gives the storage of a dense tensor a place; None: any."""
    storage: Any = tensor.untyped_storage()
    storage.sif_place = _NOWHERE if place is None else place


def tensors_in(values: Any) -> Iterator[Tensor]:
    """The tensors in nested lists, tuples and dictionaries."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, dict):
        yield from tensors_in(list(values.values()))


def calling_line() -> str:
    """File and line of the innermost code that is neither torch's nor this package's tests."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_code.co_filename
        if not name.startswith((_HERE, _TORCH, "<")) and "contextlib" not in name:
            break
        frame = frame.f_back
    name = frame.f_code.co_filename
    _, inside, rest = name.rpartition(f"{os.sep}sif{os.sep}")
    return f"{'sif/' + rest if inside else os.path.basename(name)}:{frame.f_lineno}"


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


def _masks(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    return "boolean mask" if any(map(_is_mask, args[1])) else ""


def _masks_put(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    one = isinstance(args[2], Tensor) and args[2].numel() == 1  # which is filled in, by the mask
    return "" if one else _masks(args, kwargs)


def _repeats(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    return "" if kwargs.get("output_size") else "size of the result"


def _draws(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Without replacement the chances are checked first (ATen/native/Distributions.cpp)."""
    return "" if len(args) > 2 and args[2] and args[1] > 1 else "number"


def _always(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    return "size of the result"


_WAITING: Mapping[str, Callable[[Sequence[Any], Mapping[str, Any]], str]] = {
    "_local_scalar_dense": lambda args, kwargs: "number",
    "equal": lambda args, kwargs: "number",
    "_linalg_check_errors": lambda args, kwargs: "number",
    "nonzero": _always,
    "masked_select": _always,
    "unique_dim": _always,
    "_unique2": _always,
    "unique_consecutive": _always,
    "bincount": _always,
    "repeat_interleave": _repeats,
    "multinomial": _draws,
    "index": _masks,
    "index_put": _masks_put,
    "index_put_": _masks_put,
}  # fmt: skip
"""Functions for which the host waits on a GPU: arguments to what it waits for; empty: nothing."""


class Kernels(TorchDispatchMode):
    """Refuses functions of tensors in two places, and places what functions make.

    Args:
        waits: Told of every function whose result the host waits for.
        uploads: Told of every index that is copied from the CPU.
        made: Told of every fresh tensor and its place.
    """

    def __init__(
        self, waits: Callable[[str], None], uploads: Callable[[bool], None],
        made: Callable[[Tensor, torch.device | None], None],
    ) -> None:  # fmt: skip
        super().__init__()
        self._waits, self._uploads, self._made = waits, uploads, made
        self._forced: torch.device | None = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would import its compiler, which takes seconds."""
        return False

    @contextmanager
    def placing(self, place: torch.device | None) -> Iterator[None]:
        """Within the block whatever is made has this place."""
        former, self._forced = self._forced, place
        try:
            yield
        finally:
            self._forced = former

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # fmt: skip
        # Otherwise what is read of tensors here would be taken for calls of the code under test.
        with torch._C.DisableTorchFunction():
            return self._run(func, args, kwargs or {})

    def _run(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        given = [part for x in tensors_in((args, kwargs)) for part in parts_of(x)]
        name = func.overloadpacket.__name__
        place = self._common(func, name, args, given)
        if place is not None and place != CPU and name in _WAITING:
            self._note(_WAITING[name](args, kwargs))
        result = func(*args, **kwargs)
        known = {x.untyped_storage()._cdata for x in given}
        for x in (part for found in tensors_in(result) for part in parts_of(found)):
            if x.untyped_storage()._cdata not in known:
                known.add(x.untyped_storage()._cdata)
                new = self._forced or place
                put(x, new)
                self._made(x, new)
            elif place is not None and place_of(x) is None:
                put(x, place)
        return result

    def _note(self, kind: str) -> None:
        if kind:
            self._waits(kind)

    def _common(
        self, func: Any, name: str, args: Sequence[Any], given: Sequence[Tensor]
    ) -> torch.device | None:
        """The place of a function's tensors; MixedDevicesError for two."""
        places = {place for place in map(place_of, given) if place is not None}
        if len(places) < 2:
            return next(iter(places), None)
        first = place_of(args[0]) if isinstance(args[0], Tensor) else None
        if name == "copy_":
            if first == CPU:
                self._waits("copy to the host")
            else:
                self._uploads(bool(args[2]) if len(args) > 2 else False)
            return first
        if name in _INDEXED and first not in (None, CPU):
            return self._indexed(func, first, args)
        scalars = torch.Tag.pointwise in func.tags or name.startswith(_TAKES_SCALARS)
        larger = {place_of(x) for x in given if not scalars or x.dim() or place_of(x) != CPU}
        larger.discard(None)
        if len(larger) > 1:
            raise self._mixed(func, given)
        return next(iter(larger))

    def _indexed(
        self, func: Any, first: torch.device | None, args: Sequence[Any]
    ) -> torch.device | None:
        """Copies indices to the tensor, as torch does, and no values but a single number."""
        for index in tensors_in(args[1]):
            if place_of(index) == CPU:
                self._uploads(False)
        values = args[2] if len(args) > 2 else None
        if isinstance(values, Tensor) and values.dim() and place_of(values) == CPU:
            raise self._mixed(func, [args[0], values])
        return first

    def _mixed(self, func: Any, given: Sequence[Tensor]) -> MixedDevicesError:
        shown = ", ".join(f"{place_of(x)} {tuple(x.shape)}" for x in given)
        return MixedDevicesError(
            f"{func}: expected tensors of one device, found {shown}; at {calling_line()}"
        )
