"""The device of a run, its card's name, and tables of results."""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sif.utils.device import Runtime, make_runtime
from sif.utils.environment import environment

RESULTS = Path(__file__).resolve().parents[1] / "results" / "gpu"
Row = Mapping[str, Any]


def device() -> str:
    """`SIF_GPU_DEVICE`, by default "cuda"; exits with 2 where there is none."""
    name = os.environ.get("SIF_GPU_DEVICE", "cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        print("benchmarks/gpu.sh: no GPU here, nothing measured", file=sys.stderr)
        raise SystemExit(2)
    return name


def is_toy(name: str) -> bool:
    """True for a dry run on the CPU, at a toy's size."""
    return name == "cpu"


def runtime(name: str, seed: int = 0) -> Runtime:
    """A runtime on a device; on the CPU with one thread, so that dry runs repeat themselves."""
    return make_runtime(name, seed, threads=1 if name == "cpu" else None)


def card(name: str) -> str:
    """Name of the GPU; of a dry run the CPU's."""
    found = torch.cuda.get_device_name(name) if name.startswith("cuda") else "dry run on the CPU"
    return str(found)


def about(name: str) -> dict[str, Any]:
    """First columns of every row."""
    commit = environment(runtime(name))["git_commit"]
    return {"card": card(name), "torch": torch.__version__, "commit": str(commit)[:7]}


def write(name: str, part: str, rows: Sequence[Row]) -> Path:
    """Writes a table and prints where it is; dry runs write into `SIF_GPU_OUTPUT` alone."""
    folder = os.environ.get("SIF_GPU_OUTPUT")
    where = Path(folder) if folder else RESULTS / re.sub(r"[^a-z0-9]+", "-", card(name).lower())
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if is_toy(name) and not folder:
        print("dry run: no table is written")
        return where
    where.mkdir(parents=True, exist_ok=True)
    file = where / f"{part}.csv"
    with file.open("w", newline="") as handle:
        table = csv.DictWriter(handle, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(f"{len(rows)} rows: {file}")
    return file
