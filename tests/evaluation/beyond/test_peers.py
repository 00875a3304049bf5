"""Equality with RecTools and LensKit, whose figures benchmarks/peers/beyond.py wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sif.evaluation.beyond import (
    Popularity,
    average_popularity,
    cosine_similarity,
    coverage,
    diversity,
    gini,
    jaccard_similarity,
    novelty,
    serendipity,
)

FOLDER = Path(__file__).parents[2] / "fixtures" / "beyond"
RECTOOLS = json.loads((FOLDER / "rectools-0.19.0.json").read_text(encoding="utf-8"))
LENSKIT = json.loads((FOLDER / "lenskit-2025.8.1.json").read_text(encoding="utf-8"))


def parts(document: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, Popularity, int]:
    lists, n_items = np.array(document["lists"]), document["n_items"]
    had, relevant = np.array(document["had"]), np.zeros((len(lists), n_items), np.bool_)
    relevant[tuple(np.array(document["relevant"]).T)] = True
    hits = np.take_along_axis(relevant, np.maximum(lists, 0), axis=1) & (lists >= 0)
    counts = np.bincount(had[:, 1], minlength=n_items)
    return lists, hits, Popularity(counts, len(np.unique(had[:, 0]))), n_items


def ours(name: str, k: int, document: dict[str, Any]) -> Any:
    lists, hits, popularity, n_items = parts(document)
    top, features = lists[:, :k], document["features"]
    return {
        "novelty": lambda: novelty(top, popularity),
        "arp": lambda: average_popularity(top, popularity),
        "serendipity": lambda: serendipity(top, hits[:, :k], popularity),
        "diversity_cosine": lambda: diversity(top, cosine_similarity(features)),
        "diversity_jaccard": lambda: diversity(top, jaccard_similarity(features)),
        "coverage": lambda: coverage(top, n_items),
        "gini": lambda: gini(top, n_items),
    }[name]()


@pytest.mark.parametrize(
    ("document", "metric"),
    [(one, metric) for one in (RECTOOLS, LENSKIT) for metric in one["figures"]],
)
def test_a_library_that_has_the_metric_agrees(document: dict[str, Any], metric: str) -> None:
    name, _, k = metric.partition("@")
    expected = document["figures"][metric]
    assert ours(name, int(k), document) == pytest.approx(expected, abs=1e-6)
