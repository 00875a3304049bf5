"""The device of a job, its dtype, threads and memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sif.errors import ConfigError, DivergedError, RankError, SifError
from sif.utils.calls import HERE, Calls
from sif.utils.ranks import sharing

MAX_THREADS = 1024  # OpenMP ends the process where it cannot start as many as it is told
MAX_SEED = 2**32 - 1  # numpy's legacy generators, which some libraries still use, take no more
GARBAGE = 64 << 20
"""Growth of a process, in bytes, that is worth looking for objects that hold each other."""


def never() -> bool:
    """Never out of time."""
    return False


@dataclass(frozen=True)
class Runtime:
    """Device, number type, thread count and root seed of one job, and its pace.

    Attributes:
        device: On which it runs.
        dtype: Of parameters and activations.
        threads: Of the CPU.
        seed: Root of every random stream.
        out_of_time: True once loops are to end; by default never.
        steps: Steps that a training takes in an epoch, out of those of a pass; by default all.
        processes: That work on the job together (`sif.utils.ranks`).
        calls: Makes calls that do not wait for each other.
    """

    device: torch.device
    dtype: torch.dtype
    threads: int
    seed: int
    out_of_time: Callable[[], bool] = never
    steps: Callable[[int], Iterable[Any]] = range
    processes: int = 1
    calls: Calls = HERE


def make_runtime(
    device: str = "auto",
    seed: int = 0,
    threads: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Runtime:
    """Resolves the device, checks the seed, and sets torch's thread count.

    Args:
        device: 'auto' (CUDA where there is one, else the CPU), or a torch device such as 'cuda:1'.
        seed: Root of every random stream, 0 to 2**32 - 1.
        threads: CPU threads for torch; None keeps torch's own choice.
        dtype: Floating-point type of parameters and activations.

    Raises:
        ConfigError: An unknown or absent device, a seed out of range, or fewer than
            one thread or more than `MAX_THREADS`.
    """
    check_seed(seed)
    if threads is not None:
        if not 1 <= threads <= MAX_THREADS:
            raise ConfigError(f"threads: expected 1 to {MAX_THREADS}, found {threads}")
        torch.set_num_threads(threads)
    return Runtime(_resolve_device(device), dtype, torch.get_num_threads(), seed)


@contextlib.contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Within the block torch has this many CPU threads (None: as before); then the former number.

    What the block itself sets, by `make_runtime`, is undone as well.
    """
    former = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(former)


def check_seed(seed: int) -> int:
    """Returns the seed, or raises ConfigError when it is not an integer in 0..2**32 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"seed: expected an integer from 0 to {MAX_SEED}, found {seed!r}")
    return seed


def _resolve_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device: expected auto, cpu or cuda[:N], found {name!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device: expected auto, cpu or cuda[:N], found {name!r}")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ConfigError(f"device: {name!r} requested, but torch sees {count} CUDA device(s)")
    return device


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Within the block torch prefers deterministic kernels; the former settings return after it.

    An operation without a deterministic kernel (some on CUDA) still runs, without a warning.
    """
    # cuBLAS reads this when it starts; without it its matrix products may differ from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    memory: Any = torch.utils.deterministic
    before = (
        torch.get_deterministic_debug_mode(),
        torch.backends.cudnn.benchmark,
        memory.fill_uninitialized_memory,
    )
    # The same switch as use_deterministic_algorithms, without its import of torch's compiler (1 s).
    torch.set_deterministic_debug_mode("warn")
    torch.backends.cudnn.benchmark = False
    memory.fill_uninitialized_memory = False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic implementation.*")
            yield
    finally:
        torch.set_deterministic_debug_mode(before[0])
        torch.backends.cudnn.benchmark = before[1]
        memory.fill_uninitialized_memory = before[2]


def lowered(precision: str, device: torch.device) -> torch.autocast:
    """Automatic casting of products to "bfloat16" on a device; "float32": none."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@contextlib.contextmanager
def enough_memory(device: torch.device, advice: str) -> Iterator[None]:
    """Within the block, memory that the device does not have becomes one line for the user.

    Args:
        device: Device on which the block allocates.
        advice: Settings to lower; ends the message.

    Raises:
        ConfigError: An allocation failed.
    """
    try:
        yield
    except MemoryError:
        raise _short(f"{device}: out of memory; {advice}") from None
    except RuntimeError as error:  # what CUDA's own error is, too
        if not lacks_memory(error):
            raise
        size = re.search(r"allocate ([\d.]+ \w+)", str(error))
        amount = f" for another {size[1]}" if size else ""
        raise _short(f"{device}: out of memory{amount}; {advice}") from None


def _short(told: str, kind: type[SifError] = ConfigError) -> SifError:
    """The error of memory that there is not; with others at work it ends the job."""
    return kind(told) if sharing().count == 1 else RankError(told)


@contextlib.contextmanager
def fits_into_memory(what: str, advice: str) -> Iterator[None]:
    """Within the block, memory that there is not leaves one model out, and the job goes on.

    Args:
        what: Is fitted; begins the message.
        advice: A setting to change; ends it.

    Raises:
        DivergedError: An allocation failed.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        raise _short(f"{what}: out of memory; {advice}", DivergedError) from None


_FULL = ("DefaultCPUAllocator: can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED",
         "CUDNN_STATUS_ALLOC_FAILED")  # fmt: skip


def lacks_memory(error: BaseException) -> bool:
    """True for an allocation that failed, of Python or on a device."""
    full = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
    return full or any(known in str(error) for known in _FULL)


def finish(device: torch.device) -> None:
    """Waits until a device has done all that it was told; before a clock is read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free_memory(device: torch.device) -> float:
    """Bytes that a device could still allocate; infinite where nobody tells."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = [math.inf]
    with contextlib.suppress(OSError):
        found = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text())
        free += [int(found[1]) * 1024.0] if found else []
    with contextlib.suppress(OSError, ValueError):  # of a container; "max": as much as there is
        group = Path("/sys/fs/cgroup")
        used = int((group / "memory.current").read_text())
        free.append(float(int((group / "memory.max").read_text()) - used))
    return min(free)


def reset_peak_memory(runtime: Runtime) -> None:
    """Resets the peak of `peak_memory_mb`; on the CPU, where Linux lets a process do that."""
    if runtime.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(runtime.device)
        return
    give_back_memory()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


class _Garbage:
    """Collects objects that hold each other once the process has grown.

    A collection looks at all objects, which takes .1 to 1 s: too long before each stage of a
    small job.
    """

    def __init__(self) -> None:
        self._least = math.inf

    def collect(self) -> None:
        """Collects if the process has grown by `GARBAGE` since it was smallest."""
        size = _resident_bytes()
        if size is None or size > self._least + GARBAGE:
            gc.collect()
            self._least = math.inf
            size = _resident_bytes()
        self._least = min(self._least, size or math.inf)


_garbage = _Garbage()


def _resident_bytes() -> int | None:
    """Memory of the process; None where nobody tells."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def give_back_memory() -> None:
    """Gives what the process has freed back to the system, where the C library can.

    Tables of some megabytes are freed between others and would stay with the process: half of the
    memory of a search, taken once more by the next stage. Objects that hold each other, such as
    graphs and closures of a training, are collected before, where there may be many of them.
    """
    _garbage.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # musl has no malloc_trim
            ctypes.CDLL(None).malloc_trim(0)


def peak_memory_mb(runtime: Runtime) -> float:
    """Peak memory since the reset: of the device, or of the process on the CPU (MB)."""
    if runtime.device.type == "cuda":
        return torch.cuda.max_memory_allocated(runtime.device) / 2**20
    with contextlib.suppress(OSError):
        match = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        if match:
            return int(match[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
