"""Tables of measurements as CSV files, for the scripts beside it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_table(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = (), form: str = ""
) -> None:
    """Writes rows with a header; its folder is made.

    Args:
        path: The file.
        rows: Of the same columns.
        columns: Their order; empty: as in the first row.
        form: Format of floats, such as ".5g"; empty: all their digits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            told = {k: f"{v:{form}}" if isinstance(v, float) else v for k, v in row.items()}
            writer.writerow(told)
