"""The table as a Parquet file."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sif.bench.table_file import TableFile
from sif.bench.tabular.ranges import FIELDS
from sif.bench.tabular.records import METRICS, PARTS, Training
from sif.bench.tabular.table import Table

FILE = Path(__file__).with_name("ml-100k.parquet")
VERSION = 1
MEASURED = tuple(f"{part}_{name}" for part in PARTS for names in METRICS.values() for name in names)
SCHEMA = {
    "objective": "str", "operation": "str", "user": "str", "item": "str", "dimension": "int",
    "seed": "int", "l2": "float", "chosen": "bool", **dict.fromkeys(MEASURED, "float"),
    "parameters": "int", "epochs": "int", "best_epoch": "int", "cpu_seconds": "float",
}  # fmt: skip
"""Column to its type; metrics of the other objective are null."""


KIND = TableFile("ifc-bench", b"ifcbench", VERSION, SCHEMA)


def read(path: Path = FILE) -> Table:
    """Reads a table.

    Raises:
        DataError: No such file, not a Parquet, or not a table of this version; no pyarrow.
    """
    rows, document = KIND.read(path)
    return Table(tuple(_training(row) for row in rows), document)


def write(rows: Sequence[Mapping[str, Any]], path: Path, made: Mapping[str, Any]) -> None:
    """Writes rows (dicts of `SCHEMA`'s names; a metric may be absent) and how they were made."""
    KIND.write(rows, path, made)


def _training(row: Mapping[str, Any]) -> Training:
    objective = row["objective"]
    columns = [f"{part}_{metric}" for part in PARTS for metric in METRICS[objective]]
    return Training(
        objective,
        (row["operation"], *(row[side] for side in FIELDS)),
        row["dimension"],
        row["seed"],
        row["l2"],
        row["chosen"],
        {name: row[name] for name in columns},
        row["parameters"],
        row["epochs"],
        row["cpu_seconds"],
    )


@functools.cache
def shipped() -> Table:
    """The table of the package, read when it is first asked for."""
    return read()
