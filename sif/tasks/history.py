"""What a finished search went through, read from the run folder of any task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sif.errors import CheckpointError
from sif.problems.base import SEARCHED
from sif.utils import checkpoint

_STAGES = ("search", f"search-{SEARCHED}")  # of interaction functions, of cells


def search_history(folder: Path) -> list[dict[str, Any]]:
    """The history of a job's own search (`sif.search.loop.SearchResult.history`).

    Args:
        folder: Run folder of a job whose search is finished.

    Returns:
        One entry per epoch, or per whatever the method counts: "seconds", "selection", "judged" and
        more.

    Raises:
        CheckpointError: There is no finished search, or its file cannot be read.
    """
    for name in _STAGES:
        path = folder / "checkpoint" / f"{name}.safetensors"
        if path.is_file():
            history: list[dict[str, Any]] = checkpoint.load(path, "stage")["state"]["history"]
            return history
    raise CheckpointError(f"{folder}: expected a run with a finished search, found none")
