"""Does the first job find what its data were made by, whatever kind of truth that is?

Runs the job of `python run.py --task cf` for kinds of truth and seeds, and writes one CSV row each:
what was planted and found, whether the job calls the truth recovered (`sif/tasks/cf/recovery.py`
says how), test NDCG@10 of the model, of the truth itself, of tuned ALS and EASE, and the verdict.
The constants of the generator were chosen on seeds 100 to 111.

    python benchmarks/first_run.py --seeds 10 --output benchmarks/results/first-run.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from sif.cli import main as cli
from sif.data.interactions.planted_films import KINDS

METRIC = "ndcg@10"
ALL = (*KINDS, "product")


def measured(kind: str, seed: int, sets: list[str]) -> dict[str, Any]:
    """A row of the table."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        begin = time.process_time()
        job = ["run", "--task", "cf", "--no-tracking", "--quiet", "--seed", str(seed)]
        kinds = [f"data.planted.kind={kind}", *sets]
        code = cli.main([*job, "--output-dir", str(folder), "--set", *kinds])
        seconds = time.process_time() - begin
        if code:
            raise SystemExit(f"{kind}, seed {seed}: exit code {code}")
        found = json.loads((folder / "metrics.json").read_text())
    recovery, others = found["recovery"], found["baselines"]
    return {
        "kind": kind, "seed": seed, "planted": _listed(recovery["planted"]),
        "found": _listed(recovery["found"]), "recovered": int(recovery["recovered"]),
        "agreement": f"{recovery['agreement']:.3f}", "ours": f"{found['test'][METRIC]:.4f}",
        "truth": "" if recovery["best"] is None else f"{recovery['best']:.4f}",
        **{name: f"{others[name][METRIC]:.4f}" for name in ("als", "ease") if name in others},
        "against": found["comparison"]["against"], "outcome": found["comparison"]["outcome"],
        "low": f"{found['comparison']['low']:.4f}", "high": f"{found['comparison']['high']:.4f}",
        "genotype": found["genotype"], "seconds": f"{seconds:.1f}",
    }  # fmt: skip


def _listed(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "; ".join("endless" if one is None else f"{one:.2f}" for one in value)


def main() -> None:
    """Measures the asked kinds and seeds."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=ALL, default=("two-scales",))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="further settings of the job")
    parser.add_argument("--output", type=Path, required=True)
    values = parser.parse_args()
    values.output.parent.mkdir(parents=True, exist_ok=True)
    begun = values.output.exists()
    with values.output.open("a", newline="") as file:
        for kind in values.kinds:
            for seed in range(values.first_seed, values.first_seed + values.seeds):
                row = measured(kind, seed, values.set)
                writer = csv.DictWriter(file, list(row))
                if not begun:
                    writer.writeheader()
                    begun = True
                writer.writerow(row)
                file.flush()
                print(*row.values(), sep="  ", flush=True)


if __name__ == "__main__":
    main()
