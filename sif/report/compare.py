"""A page that compares runs."""
from __future__ import annotations
from pathlib import Path
def compare_page(folders: list[Path], path: Path) -> Path:
    """..."""
    raise NotImplementedError
