"""Questions about paths that somebody else has written."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from sif.errors import DataError
from sif.utils.registry import nearest_name


def expanded(path: str | Path) -> Path:
    """The path with the home folder for "~"; as it is where nobody knows the user's."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def exists(path: str | Path) -> bool:
    """True for what is there; False also for texts that no path can be, such as too long ones."""
    try:
        os.stat(expanded(path))
    except (OSError, ValueError):
        return False
    return True


def check_name(path: str | Path) -> None:
    """Refuses a path whose bytes are no UTF-8: no file of a job and no library could name it.

    Raises:
        DataError: It has such bytes.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataError(f"{path}: expected a name in UTF-8, found other bytes") from None


_LOOKED_AT = 10_000
"""Names of a folder, at most, among which a nearest one is looked for."""


def nearest(path: Path, fits: Callable[[Path], bool] = Path.is_file) -> str:
    """'; did you mean 'orders.csv'?' for what is missing, or '' where nothing near lies beside it.

    Args:
        path: That is not there.
        fits: True for what could have been meant.
    """
    try:
        beside = islice(expanded(path).parent.iterdir(), _LOOKED_AT)
        name = nearest_name(path.name, [one.name for one in beside if fits(one)])
    except (OSError, ValueError):
        return ""
    return "" if name is None else f"; did you mean '{path.parent / name}'?"
