"""Tables of trainings as Parquet files that say how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sif.data.interactions.table_files import parquet_library
from sif.data.reading import reading
from sif.errors import DataError


@dataclass(frozen=True)
class TableFile:
    """A kind of file.

    Attributes:
        name: Of the kind, in messages.
        key: Of the file's metadata.
        version: Of the kind; other versions are refused.
        schema: Column to its type: "str", "int", "float", "bool" or "floats", a list.
    """

    name: str
    key: bytes
    version: int
    schema: Mapping[str, str]

    def read(self, path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The rows of a file, and how they were made.

        Raises:
            DataError: No such file, not a Parquet, or not a table of this kind; no pyarrow.
        """
        _, pq = parquet_library(path)
        with reading(path, "a Parquet file"):
            content = pq.ParquetFile(path).read()
        document = json.loads((content.schema.metadata or {}).get(self.key, b"{}"))
        if document.get("version") != self.version:
            raise DataError(
                f"{path}: expected a table of {self.name}, version {self.version}, "
                f"found version {document.get('version')}"
            )
        rows: list[dict[str, Any]] = content.to_pylist()
        return rows, document

    def write(self, rows: Sequence[Mapping[str, Any]], path: Path, made: Mapping[str, Any]) -> None:
        """Writes rows, in which a column may be absent, and how they were made."""
        pa, pq = parquet_library(path)
        types = {
            "str": pa.string(), "int": pa.int32(), "float": pa.float64(), "bool": pa.bool_(),
            "floats": pa.list_(pa.float64()),
        }  # fmt: skip
        schema = pa.schema([(name, types[kind]) for name, kind in self.schema.items()])
        document = json.dumps({**made, "version": self.version})
        content = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
        content = content.replace_schema_metadata({self.key: document.encode()})
        pq.write_table(content, path, compression="zstd")
