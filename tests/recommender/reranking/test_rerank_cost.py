"""The table of what a re-ranking costs, against a loop over users."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

import sif
from sif.errors import ConfigError, DataError
from sif.recommender.rerank_cost import rerank_cost
from sif.recommender.reranking import Calibrated, Mmr, Never

N_ITEMS = 20
KIND = {f"i{i}": ["tea", "mug"][i % 2] for i in range(N_ITEMS)}


@pytest.fixture(scope="module")
def parts() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(3)
    rows = [(f"u{u}", f"i{i}") for u in range(40) for i in range(N_ITEMS)
            if rng.random() < (0.6 if i % 2 == u % 2 else 0.2)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["user", "item"])
    late = np.random.default_rng(4).random(len(frame)) < 0.25
    return frame[~late], frame[late]


@pytest.fixture(scope="module")
def model(parts: tuple[pd.DataFrame, pd.DataFrame]) -> sif.Recommender:
    settings = {"search.epochs": 2, "train.epochs": 3, "train.l2": [1.0]}
    made = sif.Recommender(dimension=4, threads=1, baselines=[], settings=settings)
    return made.fit(parts[0], refit="none")


def test_without_steps_everything_is_the_same(
    model: sif.Recommender, parts: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    table = rerank_cost(model, parts[1], [], n=5, categories=KIND).set_index("metric")
    assert (table["plain"] == table["reranked"]).all()
    assert (table["difference"] == 0).all()
    assert set(table["outcome"]) == {"undecided", "-"}
    assert table.index[table["outcome"] == "-"].tolist() == ["coverage@5", "gini@5"]


def test_figures_against_a_loop(
    model: sif.Recommender, parts: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    late = pd.concat([parts[1], pd.DataFrame({"user": ["u0"], "item": ["never seen"]})])
    steps = [Mmr(0.9, features=KIND)]
    table = rerank_cost(model, late, steps, n=4, features=KIND, categories=KIND)
    table = table.set_index("metric")
    relevant = late.groupby("user")["item"].agg(set)
    ideal = [1 / math.log2(rank + 1) for rank in range(1, 5)]
    for column, more in (("plain", {}), ("reranked", {"rerank": steps})):
        ndcg, apart = [], []
        for user, wanted in relevant.items():
            items = model.recommend(user, 4, **more)["item"].tolist()
            gain = sum(g for g, item in zip(ideal, items, strict=True) if item in wanted)
            ndcg.append(gain / sum(ideal[: len(wanted)]))
            kinds = [KIND[item] for item in items]
            pairs = [kinds[a] != kinds[b] for a in range(4) for b in range(a)]
            apart.append(np.mean(pairs))
        assert table.loc["ndcg@4", column] == pytest.approx(np.mean(ndcg))
        assert table.loc["diversity@4", column] == pytest.approx(np.mean(apart))
    gain = table.loc["diversity@4"]
    assert gain["difference"] == pytest.approx(gain["reranked"] - gain["plain"])
    assert gain["low"] < gain["difference"] < gain["high"] and gain["difference"] > 0


def test_calibration_gets_better(
    model: sif.Recommender, parts: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    table = rerank_cost(model, parts[1], Calibrated(KIND, 1.0), n=6, categories=KIND)
    assert table.set_index("metric").loc["calibration@6", "outcome"] == "better"


def test_seen_pairs_and_bad_steps_are_refused(
    model: sif.Recommender, parts: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    with pytest.raises(DataError, match="expected pairs that the model has not seen, found"):
        rerank_cost(model, parts[0], [])
    with pytest.raises(ConfigError, match="rerank: expected steps such as"):
        rerank_cost(model, parts[1], "mmr")
    with pytest.raises(DataError, match="Never: item: expected one of 20 known ids"):
        rerank_cost(model, parts[1], Never("i77"))
