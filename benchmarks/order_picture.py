"""Picture of what order brings, and in how many seconds: ours and the published figures.

    python benchmarks/order_picture.py [FOLDER]    # order-seconds.png there; docs/img by default

It reads `benchmarks/results/order/ml-1m-sequences.csv` (`benchmarks/quality.py`) and
`benchmarks/results/recurrent-ml-1m.csv` (`benchmarks/histories.py`); nothing is measured here.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from pictures import levels

RESULTS = Path(__file__).parent / "results"
MEASURED = ("order", "decayed-ridge", "markov", "ease", "fixed-multiply")
PUBLISHED = {
    "SASRec, as published": 0.108,
    "BERT4Rec, reproduced": 0.152,
    "eSASRec": 0.177,
    "SASRec with softmax": 0.178,
    "Fuxi-alpha": 0.181,
}
"""NDCG@10 of the last item of ML-1M, all items ranked. The first two: Petrov and Macdonald (RecSys
2022); the next two: RecTools (eSASRec, 2025); Fuxi-alpha (2025) by its authors."""


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def measured() -> dict[str, tuple[float, float]]:
    """Model to (seconds, NDCG@10 on test) of this machine, recurrent cells as means over seeds."""
    table = {row["model"]: row for row in rows(RESULTS / "order" / "ml-1m-sequences.csv")}
    found = {name: (float(table[name]["seconds"]), float(table[name]["test"])) for name in MEASURED}
    gru = [row for row in rows(RESULTS / "recurrent-ml-1m.csv") if row["entrant"] == "gru"]
    spent, test = (np.mean([float(row[name]) for row in gru]) for name in ("train_seconds", "test"))
    return found | {"GRU": (float(spent), float(test))}


def main() -> None:
    """Draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs/img"))
    folder = parser.parse_args().folder
    figure = (measured(), PUBLISHED, "seconds of search and fits, two CPU cores", "test NDCG@10")
    levels(folder / "order-seconds.png", *figure)


if __name__ == "__main__":
    main()
