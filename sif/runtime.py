"""Where and how numbers are computed: device, dtype, threads, and every source of randomness.

A `Runtime` is made once from the configuration and handed to whatever draws or allocates. Each
consumer draws from its own named stream (`generator(runtime, "split")`), so that adding one never
shifts another. `environment()` describes the machine and the versions for `environment.json`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sif.errors import ConfigError

MAX_SEED = 2**32 - 1  # numpy's legacy generators, which some libraries still use, take no more
_RECORDED = (
    "implicit", "mlflow", "numba", "numpy", "pandas", "pydantic", "safetensors", "scipy", "torch",
)  # fmt: skip


@dataclass(frozen=True)
class Runtime:
    """Device, number type, thread count and root seed of one job."""

    device: torch.device
    dtype: torch.dtype
    threads: int
    seed: int


def make_runtime(
    device: str = "auto",
    seed: int = 0,
    threads: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Runtime:
    """Resolves the device, checks the seed, and sets torch's thread count.

    Args:
        device: 'auto' (CUDA where there is one, else the CPU), or a torch device such as 'cpu',
            'cuda:1'.
        seed: Root of every random stream, 0 to 2**32 - 1.
        threads: CPU threads for torch; None keeps torch's own choice.
        dtype: Floating-point type of parameters and activations.

    Returns:
        The runtime; `threads` holds the count in force.

    Raises:
        ConfigError: An unknown or absent device, a seed out of range, or fewer than one thread.
    """
    check_seed(seed)
    if threads is not None:
        if threads < 1:
            raise ConfigError(f"threads: expected at least 1, found {threads}")
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
            raise ConfigError(f"device: {name!r} asked for, but torch sees {count} CUDA device(s)")
    return device


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed for one named stream: the same on every machine and Python version.

    Args:
        seed: The root seed.
        names: What the stream is for, e.g. ("search", "batches") or ("baseline", "als", 3).

    Returns:
        An integer from 0 to 2**31 - 1, which every library accepts.
    """
    text = "\x1f".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def generator(
    runtime: Runtime, *names: str | int, device: torch.device | None = None
) -> torch.Generator:
    """A fresh torch generator for one named stream.

    Args:
        runtime: Gives the root seed and, unless `device` is given, the device.
        names: What the stream is for.
        device: Device of the generator; the CPU gives the same numbers whatever the job runs on.

    Returns:
        The generator; its `get_state()` is a byte tensor that a checkpoint can hold.
    """
    stream = torch.Generator(device=device or runtime.device)
    stream.manual_seed(derive_seed(runtime.seed, *names))
    return stream


def numpy_generator(runtime: Runtime, *names: str | int) -> np.random.Generator:
    """A fresh numpy generator for one named stream."""
    return np.random.default_rng(derive_seed(runtime.seed, *names))


@contextlib.contextmanager
def seeded(runtime: Runtime, *names: str) -> Iterator[None]:
    """Torch's own CPU generator at a named stream, for layers that draw their first weights."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(derive_seed(runtime.seed, *names))
        yield


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


@contextlib.contextmanager
def enough_memory(device: torch.device, advice: str) -> Iterator[None]:
    """Within the block, memory that the device does not have becomes one line for the user.

    Args:
        device: Where the block allocates.
        advice: What to lower.

    Raises:
        ConfigError: An allocation failed.
    """
    try:
        yield
    except MemoryError:
        raise ConfigError(f"{device}: out of memory; {advice}") from None
    except RuntimeError as error:  # what CUDA's own error is, too
        text = str(error)
        full = isinstance(error, torch.cuda.OutOfMemoryError)
        if not (full or any(known in text for known in _FULL)):
            raise
        asked = re.search(r"allocate ([\d.]+ \w+)", text)
        wanted = f" for another {asked[1]}" if asked else ""
        raise ConfigError(f"{device}: out of memory{wanted}; {advice}") from None


_FULL = ("DefaultCPUAllocator: can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED",
         "CUDNN_STATUS_ALLOC_FAILED")  # fmt: skip


def reset_peak_memory(runtime: Runtime) -> None:
    """Begins the peak of `peak_memory_mb` anew, on the CPU where Linux lets a process do that."""
    if runtime.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(runtime.device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(runtime: Runtime) -> float:
    """Peak memory since the reset: of the device, or of the process on the CPU (MB)."""
    if runtime.device.type == "cuda":
        return torch.cuda.max_memory_allocated(runtime.device) / 2**20
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def environment(runtime: Runtime) -> dict[str, Any]:
    """What a result depends on beside the configuration, as JSON-ready values.

    Returns:
        Keys 'python', 'platform', 'versions', 'device', 'device_name', 'dtype', 'threads',
        'cpu_count', 'seed', 'git_commit' (None outside a checkout; '+changes' appended when the
        tree was edited).
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {"sif": _sif_version()} | {name: _version(name) for name in _RECORDED},
        "device": str(runtime.device),
        "device_name": _device_name(runtime.device),
        "dtype": str(runtime.dtype).removeprefix("torch."),
        "threads": runtime.threads,
        "cpu_count": os.cpu_count(),
        "seed": runtime.seed,
        "git_commit": git_commit(Path(__file__).parents[1]),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _sif_version() -> str:
    import sif

    return sif.__version__


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            for line in Path("/proc/cpuinfo").read_text().splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_commit(root: Path) -> str | None:
    """Commit of the checkout whose top is `root`, or None where `root` is not one."""
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return None
    return f"{commit}+changes" if _git(root, "status", "--porcelain", "-uno") else commit


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
