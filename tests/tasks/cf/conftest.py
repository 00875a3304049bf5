"""The data of whole jobs, and how their run folders are read and compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sif.cli import main as cli
from sif.evaluation.beyond import BEYOND
from sif.evaluation.metrics import RANKING as ACCURACY
from sif.utils import checkpoint

ROOT = Path(__file__).parents[3]
RANKING = {f"{name}@{k}" for name in (*ACCURACY, *BEYOND) for k in (10, 20)}
RATING = {"rmse", "rmse_std", "mae"}
FIGURES = {"search", "transforms", "surface", "test", "training"}
OURS = ["searched", "fixed-multiply", "random-function"]
L2 = 2.0  # of `tiny`
AGAIN = OURS[:2]  # a control is compared as first fitted
Command = Callable[..., Any]


def ratings(seed: int = 0, users: int = 40, items: int = 30) -> pd.DataFrame:
    """Ratings by taste and popularity; ids that are no numbers and sort in an order of their own.

    Every user has rated 6 to 14 items.
    """
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=(users, 3)) @ rng.normal(size=(3, items)) + rng.normal(size=items)
    stars = np.clip(np.round(taste) + 3, 1, 5)
    rows = [
        (f"Kundin {user % 7}/{user:02d}", f"00{item}", float(stars[user, item]))
        for user in range(users)
        for item in rng.choice(items, size=rng.integers(6, 15), replace=False)
    ]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])
    table["timestamp"] = 1_000_000_000 + rng.permutation(len(table))
    return table.sample(frac=1, random_state=seed)


def without_times(value: Any) -> Any:
    """The value without what differs between two runs of the same job."""
    if isinstance(value, dict):
        timed = ("seconds", "peak_memory_mb")
        return {k: without_times(v) for k, v in value.items() if not k.endswith(timed)}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def metrics(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return found


def logged(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def stage(run: Path, name: str) -> dict[str, Any]:
    state: dict[str, Any] = checkpoint.load(run / "checkpoint" / f"{name}.safetensors", "stage")
    return state["state"]


def same_bits(a: Any, b: Any) -> bool:
    """Equal values, tensors and arrays bit for bit, times aside."""
    if isinstance(a, dict) and isinstance(b, dict):
        a, b = without_times(a), without_times(b)
        return a.keys() == b.keys() and all(same_bits(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_bits, a, b))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return bool(np.array_equal(a, b))


def weights_of(run: Path) -> list[Any]:
    state = checkpoint.load(run / "model" / "recommender.safetensors", "recommender")
    return [state["network"], state["scale"]]


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    return ratings()


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny: list[str], table: pd.DataFrame
) -> Path:
    """The run folder of a job on a CSV file; do not change it."""
    folder = tmp_path_factory.mktemp("finished")
    table.to_csv(folder / "orders.csv", index=False)
    run = folder / "run"
    job = ["--task", "cf", "--dataset", folder / "orders.csv", "--output-dir", run]
    assert cli.main([*map(str, job), "--no-tracking", "--quiet", *tiny]) == 0
    return run
