"""Interactions from PostgreSQL, SQLite and DuckDB against the same rows in Parquet.

Rows are generated with power-law users and items, ids as texts, then written to all four. Each is
read by a process of its own, as a job reads it, into `Interactions`: seconds, rows per second, peak
memory of the process (with what the libraries take, which `floor_mb` tells), and whether the
interactions are those of Parquet. The server of PostgreSQL is a process beside; what it takes is
not counted.

    python benchmarks/databases.py --output benchmarks/results/databases.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import postgres_server
import pyarrow
import pyarrow.parquet

ROWS = 5_000_000
CHUNK = 250_000
COLUMNS = (
    "source", "rows", "seconds", "rows_per_second", "cpu_seconds", "floor_mb", "peak_mb", "same",
)  # fmt: skip
NAMES = ("user_id", "item_id", "rating", "ts")
QUERY = "select user_id, item_id, rating, ts from ratings"


def chunks(rows: int) -> Iterator[pyarrow.Table]:
    """Rows in order of time, some at a time."""
    draws = np.random.default_rng(0)
    users, items = max(rows // 50, 10), max(rows // 500, 10)
    for start in range(0, rows, CHUNK):
        n = min(CHUNK, rows - start)
        user = (users * draws.random(n) ** 2).astype(np.int64)
        item = (items * draws.random(n) ** 3).astype(np.int64)
        yield pyarrow.table({
            "user_id": [f"user-{u:08d}" for u in user.tolist()],
            "item_id": [f"item-{i:06d}" for i in item.tolist()],
            "rating": (1 + draws.integers(0, 9, n) / 2).astype(np.float32),
            "ts": np.arange(start, start + n) + 1_500_000_000,
        })  # fmt: skip


def write(folder: Path, rows: int, postgres: str) -> dict[str, str]:
    """Writes the rows everywhere, and tells where they are."""
    import adbc_driver_postgresql.dbapi
    import duckdb

    paths = {kind: folder / f"ratings.{kind}" for kind in ("parquet", "sqlite", "duckdb")}
    with (
        adbc_driver_postgresql.dbapi.connect(postgres) as server, server.cursor() as cursor,
        sqlite3.connect(paths["sqlite"]) as lite, duckdb.connect(str(paths["duckdb"])) as duck,
    ):  # fmt: skip
        lite.execute("create table ratings (user_id text, item_id text, rating real, ts integer)")
        parquet = None
        for number, table in enumerate(chunks(rows)):
            parquet = parquet or pyarrow.parquet.ParquetWriter(paths["parquet"], table.schema)
            parquet.write_table(table)
            cursor.adbc_ingest("ratings", table, mode="append" if number else "create")
            columns = (table.column(name).to_pylist() for name in NAMES)
            rows_of = zip(*columns, strict=True)
            lite.executemany("insert into ratings values (?, ?, ?, ?)", rows_of)
            duck.register("chunk", table)
            verb = (
                "insert into ratings from chunk" if number else "create table ratings as from chunk"
            )
            duck.execute(verb)
        assert parquet is not None
        parquet.close()
        server.commit()
        lite.commit()
    return {
        "parquet": str(paths["parquet"]), "postgresql": postgres,
        "sqlite": f"sqlite:///{paths['sqlite']}", "duckdb": f"duckdb:///{paths['duckdb']}",
    }  # fmt: skip


def read(dataset: str) -> dict[str, Any]:
    """Reads a data set in this process, and tells what it took."""
    from sif.data.load import load_dataset
    from sif.utils.addresses import entered, is_address

    for library in ("adbc_driver_postgresql.dbapi", "duckdb"):
        __import__(library)
    floor, start, cpu = peak_mb(), time.perf_counter(), time.process_time()
    query = QUERY if is_address(dataset) else None
    found = load_dataset(entered(dataset), query=query, stream=True, order="rows").interactions
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2),
        "floor_mb": floor, "peak_mb": peak_mb(),
        "hash": found.content_hash,
    }  # fmt: skip


def peak_mb() -> int:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measured(dataset: str) -> dict[str, Any]:
    """What `read` tells of a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--read"], env=os.environ | {"SIF_BENCHMARK": dataset},
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--output", type=Path, help="CSV to write")
    parser.add_argument("--read", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(os.environ["SIF_BENCHMARK"])))
        return
    lines: list[dict[str, Any]] = []
    hashes: list[str] = []
    with tempfile.TemporaryDirectory() as folder, postgres_server.server() as postgres:
        for source, dataset in write(Path(folder), options.rows, postgres).items():
            line = {"source": source, "rows": options.rows, **measured(dataset)}
            line["rows_per_second"] = round(options.rows / line["seconds"])
            hashes.append(line.pop("hash"))
            line["same"] = hashes[-1] == hashes[0]
            lines.append(line)
            print(*(f"{name} {line[name]}" for name in COLUMNS), sep="  ", flush=True)
    if options.output is not None:
        with options.output.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)


if __name__ == "__main__":
    main()
