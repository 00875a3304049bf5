"""A pretended accelerator: real numbers, computed on the CPU, under the rules of a GPU.

    with Accelerator() as gpu:
        problem = InteractionProblem(..., Runtime(gpu.device, torch.float32, threads=1, seed=0))
        problem.train(design, NullTracker(), NoCheckpoint())
    gpu.usage().waits

Tensors say that they lie on `cuda:0` where they were put there. Functions of tensors of two devices
are refused, and so is numpy, which reads no GPU. Counted is what the host waits for, which a test
on the CPU would not notice: `item`, a boolean mask, a copy that waits. So are the bytes of all
tensors, without `torch.cuda`. Programs of `torch.jit.script` and libraries that make tensors
without torch are seen at their borders only. A GPU's own kernels and numbers are not tested.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sif.testing.places import CPU, Kernels, MixedDevicesError, calling_line, place_of
from sif.utils import device

_FACTORIES = frozenset({
    torch.arange, torch.empty, torch.empty_strided, torch.eye, torch.from_numpy, torch.full,
    torch.linspace, torch.logspace, torch.ones, torch.rand, torch.randint, torch.randn,
    torch.randperm, torch.scalar_tensor, torch.zeros,
})  # fmt: skip
_FROM_NUMBERS = (torch.tensor, torch.as_tensor, torch.asarray)
_MEMORY = 16 << 30


@dataclass(frozen=True)
class Usage:
    """Counts of an accelerator up to a moment; the difference of two is that of what lies between.

    Attributes:
        waits: By reason and line of code, how often the host waited for the accelerator.
        uploads: By line of code, how many tensors were copied to it.
        made: Bytes of all tensors that were made there.
        alive: Bytes of those that are still in use.

    Examples:
        >>> from sif.testing import Accelerator
        >>> with Accelerator() as gpu:
        ...     before = gpu.usage()
        ...     number = torch.ones(2, device=gpu.device).sum().item()
        ...     used = gpu.usage() - before
        >>> len(used.waits)
        1
    """

    waits: Counter[str] = field(default_factory=Counter)
    uploads: Counter[str] = field(default_factory=Counter)
    made: int = 0
    alive: int = 0

    def __sub__(self, before: Usage) -> Usage:
        return Usage(
            self.waits - before.waits, self.uploads - before.uploads, self.made - before.made,
            self.alive - before.alive,
        )  # fmt: skip


class Accelerator:
    """A context manager; within it there is a pretended accelerator. Use it in one thread.

    Attributes:
        device: Its name, `cuda:0`.
        peak: Bytes of the tensors on it, at most, since `torch.cuda.reset_peak_memory_stats`.

    Raises:
        MixedDevicesError: Within the block, a function gets tensors of two devices, or a generator
            of another device than its result's.
        TypeError: Within the block, numpy reads a tensor of the accelerator.

    Examples:
        >>> from sif.testing import Accelerator
        >>> with Accelerator() as gpu:
        ...     x = torch.ones(3, device=gpu.device)
        ...     print(x.device, float(x.sum()), sum(gpu.usage().waits.values()))
        cuda:0 3.0 1
    """

    def __init__(self) -> None:
        self.device = torch.device("cuda", 0)
        self.peak = self._made = self._alive = 0
        self._waits, self._uploads = Counter[str](), Counter[str]()
        self._kernels = Kernels(self._wait, self._upload, self._make)
        self._stack = ExitStack()

    def usage(self) -> Usage:
        """The counts so far."""
        return Usage(self._waits.copy(), self._uploads.copy(), self._made, self._alive)

    def __enter__(self) -> Self:
        calls = _Calls(self, self._kernels)
        cuda: dict[str, Any] = {
            "synchronize": lambda *_: self._wait("synchronize"),
            "mem_get_info": lambda *_: (_MEMORY - self._alive, _MEMORY),
            "max_memory_allocated": lambda *_: self.peak,
            "reset_peak_memory_stats": self._reset_peak,
            "get_device_name": lambda *_: "pretended accelerator",
        }
        enter = self._stack.enter_context
        enter(mock.patch.multiple(torch.cuda, **cuda))
        enter(mock.patch.object(device, "_resolve_device", self.named))
        enter(mock.patch.object(torch, "Generator", _Generator))
        parsed = _parsed(torch._C._nn._parse_to)
        enter(mock.patch.object(torch._C._nn, "_parse_to", parsed))
        grouped = _grouped(torch._C._group_tensors_by_device_and_dtype)
        enter(mock.patch.object(torch._C, "_group_tensors_by_device_and_dtype", grouped))
        engine = calls.during(torch.autograd._engine_run_backward)  # type: ignore[attr-defined]
        enter(mock.patch.object(torch.autograd, "_engine_run_backward", engine))
        enter(self._kernels)
        enter(calls)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _reset_peak(self, *device: object) -> None:
        self.peak = self._alive

    def _wait(self, reason: str) -> None:
        self._waits[f"{reason} at {calling_line()}"] += 1

    def _upload(self, non_blocking: bool) -> None:
        self._uploads[calling_line()] += 1
        if not non_blocking:
            self._wait("copy to the device")

    def _make(self, tensor: Tensor, place: torch.device | None) -> None:
        if place == CPU:
            return
        storage = tensor.untyped_storage()
        size = storage.nbytes()
        self._made += size
        self._alive += size
        self.peak = max(self.peak, self._alive)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self._alive -= size

    def transfer(self, tensor: Tensor, place: torch.device, non_blocking: bool) -> Tensor:
        """A copy in another place, through which gradients return."""
        if place == CPU:
            self._wait("copy to the host")
        else:
            self._upload(non_blocking)
        moved: Tensor = _Moved.apply(tensor, place, self._kernels)
        return moved

    def named(self, name: Any) -> torch.device:
        """A device by any of its names; "auto" is the accelerator."""
        found = self.device if name == "auto" else torch.device(name)
        return self.device if found.type == self.device.type else found


def _parsed(parse: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments of `Module.to`, which may be a tensor whose place is meant."""

    def run(*args: Any, **kwargs: Any) -> Any:
        device, *rest = parse(*args, **kwargs)
        return place_of(args[0]) if args and isinstance(args[0], Tensor) else device, *rest

    return run


def _grouped(group: Callable[..., Any]) -> Callable[..., Any]:
    """The grouping of optimizers, which say where the tensors of a group lie."""

    def run(tensors: Any, *options: Any) -> dict[Any, Any]:
        found = group(tensors, *options)
        return {(place_of(lists[0][0]), dtype): (lists, numbers)
                for (_, dtype), (lists, numbers) in found.items()}  # fmt: skip

    return run


class _Moved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, place: torch.device, kernels: Kernels) -> Tensor:
        ctx.home, ctx.kernels = place_of(x), kernels
        with kernels.placing(place):
            return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        with ctx.kernels.placing(ctx.home):
            return grads[0].clone(), None, None


class _Generator(torch.Generator):
    """A generator of the CPU that says that it lies on the device it was made for."""

    _place: torch.device

    def __new__(cls, device: Any = "cpu") -> Self:
        """Draws what one of the CPU draws."""
        made = super().__new__(cls)
        made._place = torch.device(device)
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The device that it was made for."""
        return self._place


class _Calls(TorchFunctionMode):
    """Functions as Python calls them: their `device` arguments, and what tensors say of theirs."""

    def __init__(self, accelerator: Accelerator, kernels: Kernels) -> None:
        super().__init__()
        self._accelerator, self._kernels = accelerator, kernels
        self._inside = 0
        own: dict[Any, Callable[..., Any]] = {
            Tensor.device.__get__: lambda _, x, *__: place_of(x) or CPU,
            Tensor.is_cuda.__get__: lambda _, x, *__: self._is_placed(x),  # type: ignore[attr-defined]
            Tensor.is_cpu.__get__: lambda _, x, *__: not self._is_placed(x),  # type: ignore[attr-defined]
            Tensor.get_device: lambda _, x: 0 if self._is_placed(x) else -1,
            Tensor.to: self._to,
            Tensor.cpu: lambda _, x, **options: self._to(Tensor.to, x, CPU, **options),
            Tensor.cuda: lambda _, x, *device, **options: self._to(
                Tensor.to, x, accelerator.device, **options
            ),
            Tensor.numpy: self._numpy,
            Tensor.__array__: self._numpy,
            Tensor.tolist: self._tolist,
            Tensor.new_tensor: self._new_tensor,
            Tensor.__deepcopy__: self._deepcopy,
        }
        self._own = own | dict.fromkeys(_FROM_NUMBERS, self._from_numbers)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # fmt: skip
        kwargs = kwargs or {}
        self._inside += 1
        try:
            if func in self._own:
                return self._own[func](func, *args, **kwargs)
            device = kwargs.pop("device", None)
            place = None if device is None else self._accelerator.named(device)
            if place is None and func in _FACTORIES:
                place = CPU
            self._check_generator(func, place, args, kwargs)
            if place is None:
                return func(*args, **kwargs)
            with self._kernels.placing(place):
                return func(*args, **kwargs)
        finally:
            self._inside -= 1

    def during(self, engine: Callable[..., Any]) -> Callable[..., Any]:
        """A function within which these rules hold, wherever it is called."""

        def run(*args: Any, **kwargs: Any) -> Any:
            if not self._inside:
                return engine(*args, **kwargs)
            with self._outside(), self:
                return engine(*args, **kwargs)

        return run

    @contextmanager
    def _outside(self) -> Iterator[None]:
        former, self._inside = self._inside, 0
        try:
            yield
        finally:
            self._inside = former

    def _is_placed(self, x: Tensor) -> bool:
        return place_of(x) == self._accelerator.device

    def _check_generator(
        self, func: Any, place: torch.device | None, args: Any, kwargs: Any
    ) -> None:
        draws = kwargs.get("generator")
        if draws is None:
            return
        if place is None:
            place = place_of(args[0]) if args and isinstance(args[0], Tensor) else CPU
        if place is not None and draws.device.type != place.type:
            raise MixedDevicesError(
                f"{func.__name__}: expected a generator of {place}, found one of {draws.device}; "
                f"at {calling_line()}"
            )

    def _to(self, func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        device, options = _read_to(args, kwargs)
        place = None if device is None else self._accelerator.named(device)
        if place is None or place_of(x) in (None, place):
            kept: Tensor = func(x, **options)
            return kept
        moved = self._accelerator.transfer(x, place, bool(options.pop("non_blocking", False)))
        options.pop("copy", None)
        result: Tensor = func(moved, **options) if options else moved
        return result

    def _numpy(self, func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if self._is_placed(x):
            raise TypeError(
                f"can't convert {self._accelerator.device} device type tensor to numpy. Use "
                "Tensor.cpu() to copy the tensor to host memory first."
            )
        return func(x, *args, **kwargs)

    def _tolist(self, func: Any, x: Tensor) -> Any:
        if self._is_placed(x):
            self._accelerator._wait("number")
        return func(x)

    def _from_numbers(self, func: Any, data: Any, *args: Any, **kwargs: Any) -> Tensor:
        device = kwargs.pop("device", None)
        made: Tensor = func(data, *args, **kwargs)
        return made if device is None else self._to(Tensor.to, made, device)

    def _new_tensor(self, func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        device = kwargs.pop("device", None) or place_of(x) or CPU
        return self._to(Tensor.to, func(x, *args, **kwargs), device)

    def _deepcopy(self, func: Any, x: Tensor, memo: dict[int, Any]) -> Tensor:
        """Does what torch does, by a function that the rules of places know."""
        copied: Tensor = x.detach().clone().requires_grad_(x.requires_grad)
        if x.grad is not None:
            copied.grad = x.grad.detach().clone()
        memo[id(x)] = copied
        return copied


def _read_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The device among the arguments of `Tensor.to`, and the others by name."""
    first, options, names = args[:1], dict(kwargs), ("non_blocking", "copy")
    device = options.pop("device", None)
    other = options.pop("other", None)
    if first and isinstance(first[0], Tensor):
        other, args = first[0], args[1:]
    elif first and isinstance(first[0], torch.dtype):
        options["dtype"], args = first[0], args[1:]
    elif first:
        device, args, names = first[0], args[1:], ("dtype", *names)  # type: ignore[assignment]
    if other is not None:
        device, options["dtype"] = place_of(other), other.dtype
    options.update(zip(names, args, strict=False))
    return device, {name: value for name, value in options.items() if value is not None}
