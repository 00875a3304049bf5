"""The file from which a run's figures are drawn: `plots/figures.json`, kept for drawing again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sif.errors import ConfigError, DataError
from sif.utils.checkpoint import write_json_atomic

DATA = "figures.json"

Draw = Callable[[Mapping[str, Any], Path], list[Path]]
"""Data and folder to the paths of the figures."""


def save_and_draw(folder: Path, document: Mapping[str, Any], draw: Draw) -> list[Path]:
    """Saves the data of all figures, then draws them.

    Raises:
        ConfigError: matplotlib is not installed; the data have been saved.
    """
    folder.mkdir(exist_ok=True)
    write_json_atomic(folder / DATA, document)
    return _drawn(folder, document, draw)


def draw_again(folder: Path, draw: Draw) -> list[Path]:
    """Draws the figures of a finished run from their saved data.

    Raises:
        DataError: The data are missing or damaged.
        ConfigError: matplotlib is not installed.
    """
    path = folder / DATA
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: figure data cannot be read: {error}") from None
    return _drawn(folder, document, draw)


def _drawn(folder: Path, document: Mapping[str, Any], draw: Draw) -> list[Path]:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError(
            "figures: expected the package matplotlib (pip install matplotlib), found none"
        ) from None
    return draw(document, folder)
