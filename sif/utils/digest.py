"""One hash over names and arrays, which identifies a content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np


def digest(names: Sequence[str], *values: Any) -> str:
    """SHA-256 (first 16 hex digits) of names, arrays, and what else prints exactly."""
    sha = hashlib.sha256("\x00".join(names).encode())
    for value in values:
        if isinstance(value, np.ndarray):
            sha.update(f"\x00{value.shape}\x00".encode())
            little_endian = value.astype(value.dtype.newbyteorder("<"), order="C", copy=False)
            sha.update(little_endian.data)
        else:
            sha.update(f"\x00{value}\x00".encode())
    return sha.hexdigest()[:16]
