"""The margin within which a job serves a simpler model: what it costs, on validation alone.

Some validation users of a finished job choose by `sif.evaluation.choice` under several margins; the
others judge the model that is chosen. Means over draws of who chooses.

    python benchmarks/choice_margin.py runs/a runs/b --output choice-margin.csv
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sif.baselines import SIMPLEST_FIRST
from sif.evaluation.choice import chosen
from sif.problems.base import SEARCHED
from sif.utils import checkpoint

ORDER = (*SIMPLEST_FIRST, SEARCHED)
MARGINS = (0.0, 0.25, 0.5, 1.0, 1.96)
SHARES = (1 / 2, 1 / 4, 1 / 8)
DRAWS = 1000
Merits = dict[str, NDArray[np.float64]]


def merits(run: Path) -> Merits:
    """Model to its merits by validation user, from the stages of a job that chose."""
    found = {}
    for path in sorted((run / "checkpoint").glob("*.safetensors")):
        kind, _, name = path.stem.partition("-")
        values = checkpoint.load(path, "stage")["state"].get("merits")
        if values is not None and kind in ("valid", "baseline"):
            found[SEARCHED if kind == "valid" else name] = values
    return found


def rows(run: Path) -> Iterator[list[str]]:
    """One row per share of the users: how well each margin chooses."""
    found = merits(run)
    users = len(found[SEARCHED])
    for share in SHARES:
        draws, size = np.random.default_rng(0), round(share * users)
        judged: dict[float, list[float]] = {margin: [] for margin in MARGINS}
        for _ in range(DRAWS):
            order = draws.permutation(users)
            own = {name: values[order[:size]] for name, values in found.items()}
            for margin in MARGINS:
                choice = chosen(own, ORDER, margin)
                judged[margin].append(float(found[choice.name][order[size:]].mean()))
        means = (f"{np.mean(values):.5f}" for values in judged.values())
        yield [run.name, str(users), str(size), *means]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished jobs")
    parser.add_argument("--output", type=Path, required=True, help="CSV file")
    given = parser.parse_args()
    with given.output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "users", "choosing", *(f"{margin:g}" for margin in MARGINS)])
        for run in given.runs:
            writer.writerows(rows(run))


if __name__ == "__main__":
    main()
