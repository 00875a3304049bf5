"""Sizes of memory as people write them."""

from __future__ import annotations

import re

from sif.errors import ConfigError

_BYTES = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def bytes_of(text: str) -> int:
    """Bytes from a text such as "4GB", "512MiB" or "1000000".

    Raises:
        ConfigError: Anything else, or none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(\w*)", text.strip())
    amount = float(match[1]) * _BYTES.get(match[2], 0) if match else 0.0
    if amount < 1:
        raise ConfigError(f"memory: expected bytes above 0, such as 4GB or 512MiB, found {text!r}")
    return int(amount)
