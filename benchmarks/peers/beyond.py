"""Metrics beyond accuracy as RecTools and LensKit compute them, on small drawn lists.

Writes lists, interactions, features and the figures of one library into a JSON file, from which
`tests/evaluation/beyond/test_peers.py` reads what our metrics have to be. RecTools needs an
environment of its own (README.md beside this file); sif is not imported.

    rectools-env/bin/python benchmarks/peers/beyond.py rectools \
        tests/fixtures/beyond/rectools-0.19.0.json
    python benchmarks/peers/beyond.py lenskit tests/fixtures/beyond/lenskit-2025.8.1.json
"""

from __future__ import annotations

import argparse
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import distance

USERS, ITEMS, K, FEATURES = 40, 25, 6, 5
CUTOFFS = (1, 3, 6)


def drawn(seed: int = 11) -> dict[str, NDArray[Any]]:
    """Lists (USERS, K) of items, what users had (pairs), what was relevant, features of items."""
    rng = np.random.default_rng(seed)
    lists = np.stack([rng.choice(ITEMS, K, replace=False) for _ in range(USERS)])
    lists[5, 4:] = -1
    weights = 1 / np.arange(1, ITEMS + 1)
    had = np.argwhere(rng.random((USERS, ITEMS)) < weights)
    relevant = np.argwhere(rng.random((USERS, ITEMS)) < 0.3)
    features = (rng.random((ITEMS, FEATURES)) < 0.4).astype(np.int64)
    features[:, 0] |= ~features.any(axis=1)
    return {"lists": lists, "had": had, "relevant": relevant, "features": features}


def rectools_figures(data: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Figures of RecTools by metric and cut-off: by user where it has them."""
    from rectools import Columns, metrics
    from rectools.metrics.distances import PairwiseDistanceCalculator

    class Distances(PairwiseDistanceCalculator):
        def __init__(self, name: str) -> None:
            rows = data["features"] > 0 if name == "jaccard" else data["features"]
            self._all = distance.squareform(distance.pdist(rows, name))

        def _get_distances_for_item_pairs(self, items_0: Any, items_1: Any) -> Any:
            return self._all[np.asarray(items_0), np.asarray(items_1)]

    users, places = np.nonzero(data["lists"] >= 0)
    reco = pd.DataFrame({Columns.User: users, Columns.Item: data["lists"][users, places]})
    reco[Columns.Rank] = places + 1
    before, truth = (
        pd.DataFrame(data[part], columns=[Columns.User, Columns.Item])
        for part in ("had", "relevant")
    )
    catalog = np.arange(ITEMS)
    found: dict[str, Any] = {}
    for k in CUTOFFS:
        by_user = {
            "novelty": metrics.MeanInvUserFreq(k).calc_per_user(reco, before),
            "arp": metrics.AvgRecPopularity(k).calc_per_user(reco, before),
            "serendipity": metrics.Serendipity(k).calc_per_user(reco, truth, before, catalog),
        }
        for name in ("cosine", "jaccard"):
            diversity = metrics.IntraListDiversity(k, Distances(name))
            by_user[f"diversity_{name}"] = diversity.calc_per_user(reco)
        for name, series in by_user.items():
            found[f"{name}@{k}"] = series.reindex(np.arange(USERS)).astype(float).tolist()
        found[f"coverage@{k}"] = float(
            metrics.CatalogCoverage(k, normalize=True).calc(reco, catalog)
        )
    return found


def lenskit_figures(data: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Gini coefficients of LensKit by cut-off."""
    from lenskit.data import ItemList
    from lenskit.metrics import ListGini

    found = {}
    for k in CUTOFFS:
        metric = ListGini(k, items=ITEMS)
        lists = [ItemList(item_ids=row[row >= 0], ordered=True) for row in data["lists"]]
        values = [metric.compute_list_data(one, None) for one in lists]
        found[f"gini@{k}"] = float(metric.global_aggregate(values))
    return found


FIGURES = {"rectools": rectools_figures, "lenskit": lenskit_figures}


def main() -> None:
    """Writes the figures of the library that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", choices=FIGURES)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    data = drawn()
    document = {
        "library": f"{arguments.library} {metadata.version(arguments.library)}",
        "made_by": "benchmarks/peers/beyond.py",
        "n_users": USERS, "n_items": ITEMS,
        **{name: array.tolist() for name, array in data.items()},
        "figures": FIGURES[arguments.library](data),
    }  # fmt: skip
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(document, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
