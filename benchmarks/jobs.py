"""Whole jobs from a Parquet file as it grows: seconds and memory by stage, and what they promise.

Rows are those of `reading.py`: users and items as texts, popularity by a power law, 100 rows a
user, 1,000 an item. Each job is a process of its own, `python run.py` with the same settings at
every size: the weighting of a product of two vectors is searched, on 1,000,000 rows at most; what
is found and fixed multiply are trained for five epochs, in blocks as large data are at any size;
then ranked, and saved. The model names ten items for every user. The table has the seconds of each
part, the peak of memory, and the exponents of both in the rows. "by its clock" are the seconds that
a job tells, and "planned" those that its plan told after some seconds, from steps that it measured.

    python benchmarks/jobs.py --rows 1e5 1e6 1e7 --folder /var/tmp/jobs
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from reading import PER_ITEM, PER_USER, generate

from sif.spaces.interaction.user_blocks import block_pairs
from sif.utils import checkpoint

RUN = Path(__file__).parents[1] / "run.py"
SETTINGS = (
    "objective=ranking", "data.protocol=ranking-per-user", "budget=null", "refit=none",
    "baselines=[popularity]", "controls=[fixed-multiply]", "train.epochs=5", "train.patience=5",
    "train.l2=[2]", "train.valid_users=10000", "search.stages=[weighting]", "search.epochs=5",
)  # fmt: skip
GROUPS = {
    "plan": ("plan",), "search": ("search",), "training": ("fixed", "searched"),
    "test": ("test", "valid", "baseline"),
}  # fmt: skip
"""Parts of a job to the first words of its stages' names; what is left is reading and saving."""


def timed(command: Sequence[str | Path]) -> tuple[float, float]:
    """Seconds of a process, and the peak of memory of all so far, in MB.

    Raises:
        RuntimeError: It failed.
    """
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return time.perf_counter() - begin, peak


def stages(folder: Path) -> dict[str, float]:
    """Seconds of each part of a finished job, by what its stages were saved with."""
    saved = [
        checkpoint.load(path, "stage") for path in (folder / "checkpoint").glob("*.safetensors")
    ]
    names = {path.stem for path in (folder / "checkpoint").glob("*.safetensors")}
    serials = max(saved, key=lambda content: content["serial"])["serials"]
    ends = {content["serial"]: content["seconds"] for content in saved}
    found, before = dict.fromkeys(GROUPS, 0.0), 0.0
    for name in sorted(names & serials.keys(), key=lambda name: serials[name]):
        end = ends[serials[name]]
        for group, words in GROUPS.items():
            if name.split("-")[0] in words:
                found[group] += end - before
        before = end
    return found


def users(path: Path, rows: int) -> Path:
    """Writes the users of so many generated rows, a few of whom may have none."""
    count = max(rows // PER_USER, 100)
    ids = pa.array([f"u{n:09d}" for n in range(count)])
    pq.write_table(pa.table({"user": ids}), path)
    return path


def measured(path: Path, rows: int, folder: Path, sets: Sequence[str]) -> dict[str, float]:
    """Seconds of a job by its parts and as a whole, and the peak of its memory."""
    run, train = folder / path.stem, rows * 3 // 4
    blocks = f"train.block_pairs={block_pairs(train, max(rows // PER_ITEM, 400))}"
    command = [sys.executable, RUN, "--task", "cf", "--dataset", path, "--no-tracking", "--quiet"]
    seconds, peak = timed([*command, "--output-dir", run, "--set", *SETTINGS, blocks, *sets])
    parts = stages(run)
    rest = seconds - sum(parts.values())
    told = json.loads((run / "metrics.json").read_text())
    clock = {"by its clock": told["total_seconds"], "planned": told["plan"]["estimated_seconds"]}
    asked = ["--users", users(folder / "users.parquet", rows), "--unknown", "popular"]
    asked += ["--output", folder / "lists.parquet"]
    lists, _ = timed([sys.executable, RUN, "recommend", run, *asked])
    whole = {"job": seconds, **clock, "top ten": lists, "peak MB": peak}
    return {"reading and saving": rest, **parts, **whole}


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Exponent of a power law, by least squares of logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-3)), 1)[0])


def table(found: Mapping[int, Mapping[str, float]]) -> list[tuple[str, ...]]:
    """Parts of the job by the number of rows, with exponents over all and the last two sizes."""
    sizes = sorted(found)
    rows = [("part", *(f"{n:,}" for n in sizes), "exponent", "at the end")]
    for part in found[sizes[0]]:
        values = [found[n][part] for n in sizes]
        slopes = (exponent(sizes, values), exponent(sizes[-2:], values[-2:]))
        rows.append((part, *(f"{one:.2f}" for one in values), *(f"{one:.2f}" for one in slopes)))
    return rows


def main() -> None:
    """All sizes in turn, smallest first; the table and the CSV file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])

    def whole(text: str) -> int:
        return int(float(text))

    parser.add_argument("--rows", type=whole, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "jobs")
    parser.add_argument("--set", nargs="+", default=[], help="further settings of the job")
    parser.add_argument("--output", type=Path, help="CSV to write")
    values = parser.parse_args()
    values.folder.mkdir(parents=True, exist_ok=True)
    found: dict[int, dict[str, float]] = {}
    for rows in sorted(values.rows):
        path = values.folder / f"rows-{rows}.parquet"
        if not path.exists():
            generate(path.with_suffix(".part"), rows, "parquet")
            path.with_suffix(".part").rename(path)
        found[rows] = measured(path, rows, values.folder, values.set)
        told = ", ".join(f"{part} {one:.1f}" for part, one in found[rows].items())
        print(f"{rows:,} rows: {told}", flush=True)
    if len(found) == 1:
        return
    lines = table(found)
    for line in lines:
        print(f"{line[0]:<20}" + "".join(f"{cell:>15}" for cell in line[1:]))
    if values.output:
        values.output.parent.mkdir(parents=True, exist_ok=True)
        with values.output.open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(lines)


if __name__ == "__main__":
    main()
