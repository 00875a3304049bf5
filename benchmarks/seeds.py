"""One job with several seeds, one after the other, timed by seconds of the CPU.

What else the machine does must not decide which method is the faster. Other options go to the job
as they are. `seeds_report.py` makes a table and pictures of the run folders.

    OMP_NUM_THREADS=1 python benchmarks/seeds.py --seeds 0 1 2 --output FOLDER -- --task rnn \
      --dataset penn-mini --set threads=1 'baselines=[random-ws, darts-1, lstm]'
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from sif.cli import main as cli


def main() -> None:
    """Runs the job once per seed; ends with the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, required=True, help="folder of the run folders")
    parser.add_argument("job", nargs="+", help="options of run.py, after --")
    values = parser.parse_args()
    time.perf_counter = time.process_time
    for seed in values.seeds:
        folder = values.output / f"seed{seed}"
        words = ["--seed", str(seed), "--no-tracking", "--output-dir", str(folder)]
        code = cli.main([*words, *values.job])
        if code:
            raise SystemExit(code)


if __name__ == "__main__":
    main()
