"""Questions about paths that somebody else has written."""

from __future__ import annotations

import os
from pathlib import Path


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
