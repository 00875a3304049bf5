"""The margin within which a job serves a simpler model: what it costs, on validation alone.

Some validation users choose between the tuned baselines by `sif.evaluation.choice` under several
margins; the others judge the model that is chosen. Means over draws of who chooses.

    python benchmarks/choice_margin.py last-item ranking-per-user --output choice-margin.csv
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sif.baselines import SIMPLEST_FIRST
from sif.config import CFConfig, load_config
from sif.evaluation.choice import chosen
from sif.tasks.cf.inputs import prepare
from sif.utils.device import make_runtime

MARGINS = (0.0, 0.25, 0.5, 1.0, 1.96)
SHARES = (1 / 2, 1 / 4, 1 / 8)
DRAWS = 1000
Merits = dict[str, NDArray[np.float64]]


def merits(protocol: str, dataset: str) -> Merits:
    """Baseline to its NDCG@10 by validation user."""
    sets = [f"dataset={dataset}", f"data.protocol={protocol}", "threads=1"]
    config = load_config("cf", sets=sets, flags={"seed": 0})
    assert isinstance(config, CFConfig)
    study = prepare(config, make_runtime("cpu", 0, 1))
    fits, metric = study.problem.baseline_fits, study.problem.metric
    return {name: fits.tuned(name).valid.per_user[metric] for name in SIMPLEST_FIRST}


def rows(protocol: str, found: Merits) -> Iterator[list[str]]:
    """One row per share of the users: how well each margin chooses."""
    users = len(found["popularity"])
    for share in SHARES:
        draws, size = np.random.default_rng(0), round(share * users)
        judged: dict[float, list[float]] = {margin: [] for margin in MARGINS}
        for _ in range(DRAWS):
            order = draws.permutation(users)
            own = {name: values[order[:size]] for name, values in found.items()}
            for margin in MARGINS:
                choice = chosen(own, SIMPLEST_FIRST, margin)
                judged[margin].append(float(found[choice.name][order[size:]].mean()))
        means = (f"{np.mean(values):.5f}" for values in judged.values())
        yield [protocol, str(users), str(size), *means]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("protocols", nargs="+", help="splits of the data set")
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--output", type=Path, required=True, help="CSV file")
    given = parser.parse_args()
    with given.output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["protocol", "users", "choosing", *(f"{margin:g}" for margin in MARGINS)])
        for protocol in given.protocols:
            writer.writerows(rows(protocol, merits(protocol, given.dataset)))


if __name__ == "__main__":
    main()
