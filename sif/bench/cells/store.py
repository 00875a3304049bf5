"""The tables as Parquet files of the package."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sif.bench.cells.table import CellTable, CellTraining
from sif.bench.table_file import TableFile
from sif.errors import NotInTableError

FOLDER = Path(__file__).parent
KIND = TableFile(
    "cell-bench", b"cellbench", 1,
    {
        "cell": "str", "seed": "int", "valid": "floats", "test": "float", "best_epoch": "int",
        "parameters": "int", "cpu_seconds": "float",
    },
)  # fmt: skip
COLUMNS = tuple(KIND.schema)


def read(path: Path) -> CellTable:
    """Reads a table.

    Raises:
        DataError: No such file, not a Parquet, or not a table of this version; no pyarrow.
    """
    rows, document = KIND.read(path)
    return CellTable(tuple(_training(row) for row in rows), document)


def write(rows: Sequence[Mapping[str, Any]], path: Path, made: Mapping[str, Any]) -> None:
    """Writes rows, dicts of `COLUMNS`, and how they were made."""
    KIND.write(rows, path, made)


def path_of(name: str) -> Path:
    """Where the package has a table."""
    return FOLDER / f"{name}.parquet"


def _training(row: Mapping[str, Any]) -> CellTraining:
    return CellTraining(
        row["cell"], row["seed"], tuple(row["valid"]), row["test"], row["best_epoch"],
        row["parameters"], row["cpu_seconds"],
    )  # fmt: skip


@functools.cache
def shipped(name: str) -> CellTable:
    """A table of the package, read when it is first asked for.

    Args:
        name: "images".

    Raises:
        NotInTableError: No table of that name.
    """
    names = sorted(path.stem for path in FOLDER.glob("*.parquet"))
    if name not in names:
        raise NotInTableError(f"table: expected {' or '.join(names)}, found {name!r}")
    return read(path_of(name))
