"""Uses of the public names as in the README and the tutorials, for `mypy` alone: nobody runs this.

A wrong annotation of a public name is an error here, and so is an `Any` where a type is promised.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import sif


def recommender() -> None:
    orders = pd.read_csv("orders.csv")
    model = sif.Recommender(budget="2min", settings={"train.epochs": 60}).fit(orders)
    assert_type(model, sif.Recommender)
    print(model.report())
    print(model.recommend("c1", n=5).to_string(index=False))
    items, scores = model.recommend(["c1", "c2"], n=5, as_arrays=True)
    print(
        items.shape, scores.shape, model.recommend_new(["spade"], n=3), model.explain("c1", "mug")
    )
    assert_type(model.predict("c1", ["mug"]), NDArray[np.float32])
    assert_type(model.save("shop-model"), Path)
    again = sif.Recommender.load("shop-model").fold_in(orders).partial_fit(orders)
    assert_type(again, sif.Recommender)


def configurations() -> sif.CFConfig:
    shared: dict[str, object] = {"threads": 1, "train": {"epochs": 15, "l2": [2.0]}}
    job = sif.CFConfig(dataset="orders.csv", data={"protocol": "last-item"}, **shared)
    result = sif.run_job(job)
    print(result.metrics["test"]["ndcg@10"])
    assert_type(job.train.epochs, int)
    images, text = sif.CNNConfig(dataset="digits"), sif.RNNConfig(search={"epochs": 2})
    print(images.search.epochs, text.train.epochs, sif.load_config("cf", sets=["seed=1"]).seed)
    return job


def functions() -> None:
    orders = pd.read_csv("orders.csv")
    found = sif.search_function(orders, space="primitives", budget="1min")
    print(found)
    genotype: sif.Genotype = sif.Genotype.from_json(Path("genotype.json").read_text())
    print(genotype.expression)
    function = sif.InteractionFunction.load("runs/one")
    print(function)


def comparisons(model: sif.Recommender, other: sif.Recommender) -> None:
    test = pd.read_csv("test.csv")
    print(sif.evaluate(model, test), sif.compare({"mine": model, "other": other}, test))
    bench = sif.Bench.of(task="cf", methods=["nasp", "random"], budget="2 minutes", seeds=3)
    print(bench)


def errors() -> str:
    try:
        sif.Recommender.load("nowhere")
    except (sif.ConfigError, sif.DataError, sif.NotFittedError) as error:
        assert_type(error, sif.ConfigError | sif.DataError | sif.NotFittedError)
        return str(error)
    except sif.SifError as error:
        return f"{sif.__version__}: {error}"
    return ""
