"""Nothing of the test part is learned from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.tasks.cf.conftest import (
    AGAIN,
    OURS,
    Command,
    metrics,
    same_bits,
    stage,
    weights_of,
)


def split_arrays(table: pd.DataFrame) -> dict[str, Any]:
    """A split file's arrays: 60/20/20 at random, ratings included."""
    users, user = np.unique(table["user_id"].to_numpy(str), return_inverse=True)
    items, item = np.unique(table["item_id"].to_numpy(str), return_inverse=True)
    part = np.random.default_rng(1).choice(3, size=len(table), p=[0.6, 0.2, 0.2])
    return {
        "user": user, "item": item, "rating": table["rating"].to_numpy(np.float32),
        "timestamp": table["timestamp"].to_numpy(), "part": part,
        "user_ids": users, "item_ids": items,
    }  # fmt: skip


def permuted_test_items(arrays: dict[str, Any]) -> dict[str, Any]:
    """The same test items in other users' hands, no pair twice."""
    rng = np.random.default_rng(2)
    rows = np.flatnonzero(arrays["part"] == 2)
    taken = Counter(zip(arrays["user"].tolist(), arrays["item"].tolist(), strict=True))
    item = arrays["item"].copy()
    for _ in range(20 * len(rows)):
        a, b = rng.choice(rows, size=2, replace=False)
        old = [(arrays["user"][r], item[r]) for r in (a, b)]
        new = [(arrays["user"][a], item[b]), (arrays["user"][b], item[a])]
        if not any(taken[pair] for pair in new):
            taken.subtract(old)
            taken.update(new)
            item[[a, b]] = item[[b, a]]
    return {**arrays, "item": item}


def shifted_test_ratings(arrays: dict[str, Any]) -> dict[str, Any]:
    shift = np.where(arrays["part"] == 2, 7, 0).astype(np.float32)
    return {**arrays, "rating": arrays["rating"] + shift}


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(
    ("objective", "baselines", "change", "metric"),
    [
        ("rating", ["global-mean", "bias-only"], shifted_test_ratings, "rmse"),
        ("ranking", ["popularity", "ease"], permuted_test_items, "ndcg@10"),
    ],
)
def test_another_test_part_changes_nothing_that_is_fitted(
    objective: str,
    baselines: list[str],
    change: Callable[[dict[str, Any]], dict[str, Any]],
    metric: str,
    sif: Command,
    tiny: list[str],
    table: pd.DataFrame,
) -> None:
    arrays = split_arrays(table)
    other = change(arrays)
    runs = []
    for name, content in (("as-it-is", arrays), ("changed", other)):
        np.savez(f"{name}.npz", **content)
        done = sif(
            "--task", "cf", "--split-file", f"{name}.npz", "--output-dir", name, "--no-tracking",
            *tiny, f"objective={objective}", f"baselines=[{','.join(baselines)}]", "train.l2=[1,3]",
            "train.halving_keep=1",
        )  # fmt: skip
        assert done.code == 0, done.err
        runs.append(Path(name))
    places = [f"{name}-{place}" for name in OURS for place in (0, 1)]
    fitted = ["search", *places, *(f"{place}-start" for place in places)]
    fitted += [f"refit-{name}" for name in AGAIN]
    for name in fitted:
        assert same_bits(stage(runs[0], name), stage(runs[1], name)), name
    for name in baselines:
        ours, theirs = (stage(run, f"baseline-{name}") for run in runs)
        assert (ours["valid"], ours["params"]) == (theirs["valid"], theirs["params"])
    found = [metrics(run) for run in runs]
    assert (runs[0] / "genotype.json").read_bytes() == (runs[1] / "genotype.json").read_bytes()
    assert found[0]["valid"] == found[1]["valid"]
    for name, a, b in zip(["network", "scale"], *(weights_of(run) for run in runs), strict=True):
        assert same_bits(a, b), name
    # The test part did change, and its metrics show it.
    assert found[0]["protocol"]["split_hash"] != found[1]["protocol"]["split_hash"]
    assert found[0]["test"][metric] != found[1]["test"][metric]
