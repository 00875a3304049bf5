"""Fits from an earlier model against fresh fits: seconds, and validation on the same rows.

An earlier model is fitted on the first 90 % of the rows by time. Then all rows are fitted in turn
from that model and afresh. Both validate on the held-out rows that the earlier model has not seen.

    OMP_NUM_THREADS=1 python benchmarks/warm_start.py --data ml-100k --stages closed encoding \\
        --seeds 0 1 2 --output FILE.csv
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from live import frame_of
from table_files import write_table

from sif import Recommender
from sif.data.interactions import Interactions
from sif.evaluation.evaluate import Evaluation, evaluate_on
from sif.recommender.inputs import interactions_of, parts
from sif.recommender.warm_start import WarmStart

METRIC = "ndcg@10"


def recommender(values: argparse.Namespace, seed: int) -> Recommender:
    """With the settings of all fits."""
    settings: dict[str, Any] = {}
    if values.stages:
        settings["search.stages"] = values.stages
    for pair in values.set:
        name, _, value = pair.partition("=")
        settings[name] = float(value) if "." in value else int(value)
    return Recommender(
        seed=seed, threads=values.threads, budget=values.budget, baselines=[], settings=settings
    )


def evaluated(model: Recommender, train: Interactions, valid: Interactions) -> Evaluation:
    """NDCG@10 of every user on the valid rows, of a model that was fitted on the train rows."""
    served = model.fitted_model()
    assert served.fitted_on == "train"
    return evaluate_on(served.scorer_of(train), train, (train,), valid, "ranking", (10,))


def fitted(
    values: argparse.Namespace, rows: pd.DataFrame, seed: int, before: int
) -> list[dict[str, Any]]:  # fmt: skip
    """The three fits of one seed."""
    early, begin = recommender(values, seed), time.perf_counter()
    early.fit(rows.iloc[:before])
    first = time.perf_counter() - begin
    config = early._configuration()
    known, train, held = parts(rows, None, seed, config.data, "ranking")
    train, valid = WarmStart.of(early, config).parts(known, train, held)
    found, order = dict[str, dict[str, Any]](), ["fresh", "warm"]
    for name in order if seed % 2 else reversed(order):
        model, begin = recommender(values, seed), time.perf_counter()
        start = {"warm_start": early} if name == "warm" else {}
        model.fit(frame_of(train), frame_of(valid), refit="none", **start)
        seconds = time.perf_counter() - begin
        result = evaluated(model, train, valid)
        per_user = result.per_user[METRIC]
        found[name] = {
            "seconds": seconds, METRIC: float(per_user.mean()), "users": len(per_user),
            "per_user": per_user, "model": model.fitted_model().expression,
        }  # fmt: skip
    gap = found["warm"].pop("per_user") - found["fresh"].pop("per_user")
    error = float(gap.std(ddof=1) / np.sqrt(len(gap)))
    share = found["warm"]["seconds"] / found["fresh"]["seconds"]
    shared = {"seed": seed, "first_seconds": first, "warm_share": share,
              "warm_less_fresh": float(gap.mean()), "standard_error": error}  # fmt: skip
    return [{"fit": name, **one, **shared} for name, one in found.items()]


def main() -> None:
    """Prints a row per fit and seed, and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="ml-100k", help="a data set or a file with times")
    parser.add_argument("--dir", default=None, help="folder of data sets")
    parser.add_argument("--stages", nargs="+", default=[], help="of the search; none: all")
    parser.add_argument("--set", nargs="+", default=[], help="further numbers, name=value")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--share", type=float, default=0.9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--budget", default=None)
    parser.add_argument("--output", type=Path)
    values = parser.parse_args()
    config = recommender(values, 0)._configuration().data
    if values.dir:
        config = config.model_copy(update={"dir": Path(values.dir)})
    rows = frame_of(interactions_of(values.data, config, "ranking"))
    rows = rows.sort_values("timestamp", kind="stable", ignore_index=True)
    table = list[dict[str, Any]]()
    for seed in values.seeds:
        for row in fitted(values, rows, seed, round(values.share * len(rows))):
            table.append(row)
            told = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
            print(told, flush=True)
    if values.output:
        write_table(values.output, table, form=".4f")


if __name__ == "__main__":
    main()
