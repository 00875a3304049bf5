"""The machine and the versions that a result depends on, for environment.json."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from sif.utils.device import Runtime
from sif.utils.version import __version__

_RECORDED = (
    "implicit", "mlflow", "numba", "numpy", "pandas", "pydantic", "safetensors", "scipy", "torch",
)  # fmt: skip


def environment(runtime: Runtime) -> dict[str, Any]:
    """The versions and the machine that a result depends on, as JSON-ready values.

    Returns:
        Keys 'python', 'platform', 'versions', 'device', 'device_name', 'dtype', 'threads',
        'cpu_count', 'seed', 'git_commit' (None outside a checkout; '+changes' is appended when the
        tree was edited).
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {"sif": __version__} | {name: installed(name) for name in _RECORDED},
        "device": str(runtime.device),
        "device_name": device_name(runtime.device),
        "dtype": str(runtime.dtype).removeprefix("torch."),
        "threads": runtime.threads,
        "cpu_count": os.cpu_count(),
        "seed": runtime.seed,
        "git_commit": git_commit(Path(__file__).parents[2]),
    }


def installed(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def device_name(device: torch.device) -> str:
    """The name of the processor that computes, such as that of a CPU or of a GPU."""
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
        result = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
