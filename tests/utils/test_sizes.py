"""Sizes of memory are read as people write them."""

from __future__ import annotations

import pytest

from sif.errors import ConfigError
from sif.utils.sizes import bytes_of


@pytest.mark.parametrize(
    ("text", "amount"),
    [("4GB", 4 * 10**9), ("512MiB", 2**29), ("1.5 GiB", 3 * 2**29), ("1000", 1000), ("2KB", 2000)],
)
def test_sizes_are_read(text: str, amount: int) -> None:
    assert bytes_of(text) == amount


@pytest.mark.parametrize("text", ["", "0GB", "-1GB", "4 gigs", "GB", "0.1"])
def test_sizes_that_nothing_fits_in_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^memory: expected bytes above 0, such as 4GB"):
        bytes_of(text)
