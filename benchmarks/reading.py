"""Rows a second and peak memory of reading a file by pieces, against pandas on the same file.

A generated file has three columns: users and items as texts, ratings as float32. Popularity follows
a power law, and pairs repeat. Each reading runs in a process of its own:

- pieces: `load_dataset(stream=True)`, to interactions whose repeated pairs are merged.
- ray: the same by `reader="ray"`: Ray Data on the cluster of RAY_ADDRESS, or on a Ray of this
  machine, whose start counts. Parquet alone.
- spool: the first pass of pieces alone.
- memory: `load_dataset(stream=False)`.
- pandas: the file as a data frame, and codes of both columns of ids.

The memory is the peak of the process, mapped pages of files included, without processes of Ray.
Idle cores give the rate; CPU seconds are kept beside, for busy machines.

    python benchmarks/reading.py --rows 100000000 --folder /var/tmp/reading
    python benchmarks/reading.py --rows 2000000 --kind csv --readers pieces memory pandas
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from table_files import write_table

READERS = ("pieces", "ray", "spool", "memory", "pandas")
COLUMNS = (
    "reader", "kind", "rows", "file_mb", "seconds", "cpu_seconds", "rows_per_second", "peak_mb",
    "interactions",
)  # fmt: skip
PER_USER, PER_ITEM, POWER = 100, 1000, 3.0
BATCH = 1 << 20


def generate(path: Path, rows: int, kind: str) -> None:
    """Writes the file, a batch at a time."""
    draws = np.random.default_rng(0)
    names = {
        "user": pa.array([f"u{n:09d}" for n in draws.permutation(max(rows // PER_USER, 100))]),
        "item": pa.array([f"item-{n}" for n in draws.permutation(max(rows // PER_ITEM, 400))]),
    }
    schema = pa.schema([("user", pa.string()), ("item", pa.string()), ("rating", pa.float32())])
    writer = (
        pq.ParquetWriter(path, schema) if kind == "parquet" else pc.CSVWriter(str(path), schema)
    )
    with writer:
        for first in range(0, rows, BATCH):
            n = min(BATCH, rows - first)
            columns = [
                texts.take(pa.array((len(texts) * draws.random(n) ** POWER).astype(np.int32)))
                for texts in names.values()
            ]
            ratings = pa.array(draws.integers(1, 11, n).astype(np.float32) / 2)
            writer.write_table(pa.table([*columns, ratings], schema=schema))


def read(reader: str, path: Path, folder: Path) -> int:
    """Reads the file in this process; returns what it holds."""
    if reader == "pandas":
        import pandas as pd

        text = path.suffix == ".csv"
        frame = pd.read_csv(path, dtype={"user": str}) if text else pd.read_parquet(path)
        codes = [pd.factorize(frame[name])[0] for name in ("user", "item")]
        return len(codes[0])
    from sif.data.interactions import Columns
    from sif.data.load import load_dataset
    from sif.data.streamed.load import Place
    from sif.data.streamed.open import open_source
    from sif.data.streamed.scratch import Scratch
    from sif.data.streamed.spool import Request, spool

    if reader == "spool":
        request = Request.of(open_source(path, Columns()), Columns())
        scratch = Scratch(folder / "spool", {})
        try:
            return spool(request, scratch).rows
        finally:
            scratch.remove()
    place = Place(folder / "scratch", False)
    by = "ray" if reader == "ray" else "local"
    dataset = load_dataset(path, stream=reader != "memory", reader=by, place=place)
    return len(dataset.interactions)


def measured(reader: str, path: Path, folder: Path) -> dict[str, Any]:
    """One reading, in this process; libraries are loaded before."""
    import pandas  # noqa: F401

    import sif.data.load  # noqa: F401

    wall, cpu = time.perf_counter(), time.process_time()
    rows = read(reader, path, folder)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_mb": round(usage.ru_maxrss / 1024),
        "interactions": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--kind", choices=("parquet", "csv"), default="parquet")
    parser.add_argument("--readers", nargs="+", choices=READERS, default=["pieces", "pandas"])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--output", type=Path, help="a CSV that gets a row for each reader")
    parser.add_argument("--only", choices=READERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / f"reading-{options.rows}.{options.kind}"
    if options.only:
        print(json.dumps(measured(options.only, path, options.folder)))
        return
    if not path.exists():
        part = path.with_suffix(f".part.{options.kind}")
        generate(part, options.rows, options.kind)
        part.rename(path)
    lines = []
    for reader in options.readers:
        command = [sys.executable, __file__, "--rows", str(options.rows), "--kind", options.kind]
        command += ["--folder", str(options.folder), "--only", reader]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        line: dict[str, Any] = {
            "reader": reader, "kind": options.kind, "rows": options.rows,
            "file_mb": round(path.stat().st_size / 2**20),
        }  # fmt: skip
        if done.returncode:
            line["interactions"] = "failed: " + (done.stderr.strip().splitlines() or ["killed"])[-1]
        else:
            line |= json.loads(done.stdout.splitlines()[-1])
            line["rows_per_second"] = round(options.rows / line["seconds"])
        lines.append(line)
        print(", ".join(f"{name} {line.get(name, '')}" for name in COLUMNS), flush=True)
    if options.output:
        write_table(options.output, lines, COLUMNS)


if __name__ == "__main__":
    main()
