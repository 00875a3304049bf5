"""Every source of randomness: named streams derived from one seed.

Each consumer draws from a stream of its own, such as `generator(runtime, "split")`, so that adding
one never shifts another.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import numpy as np
import torch

from sif.utils.device import Runtime


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed for one named stream: the same on every machine and Python version.

    Args:
        seed: The root seed.
        names: Of the stream, such as ("search", "batches") or ("baseline", "als", 3).

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
        names: Of the stream.
        device: Of the generator; the CPU gives the same numbers for jobs on any device.

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
