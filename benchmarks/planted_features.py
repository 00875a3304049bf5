"""Features that decide what users take, and the same ones shuffled: are they found, and left out?

Users take items of kinds that they like, popular ones more often; every item has one kind. A closed
form is searched with the kinds as features, and with the kinds of other items.

    python benchmarks/planted_features.py --seeds 20
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import pandas as pd

from sif.config import CFConfig
from sif.data.features import read_features
from sif.data.interactions import read_frame
from sif.data.interactions.split import held_out
from sif.problems.closed_forms import ClosedProblem
from sif.spaces.closed.design import OPEN, closed_design
from sif.spaces.closed.item_item import ItemItem
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

USERS, ITEMS, KINDS, LATENT = 1500, 2000, 40, 8


def planted(
    seed: int, users: int = USERS, items: int = ITEMS, kinds: int = KINDS
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Rows, features that matter, and features that do not."""
    draws = np.random.default_rng(seed)
    kind = draws.integers(0, kinds, items)
    taste = draws.dirichlet(np.full(kinds, 0.3), users)
    popular = draws.gamma(1.0, size=items)
    latent = draws.normal(size=(users, LATENT)) @ draws.normal(size=(LATENT, items))
    rows = []
    for user in range(users):
        weights = taste[user][kind] * popular * np.exp(0.3 * latent[user])
        count = min(int(draws.integers(5, 16)), int((weights > 0).sum()))
        chosen = draws.choice(items, count, replace=False, p=weights / weights.sum())
        rows += [(f"u{user}", f"i{item}") for item in chosen]
    names = [f"i{item}" for item in range(items)]
    true = pd.DataFrame({"item": names, "kind": [f"k{one}" for one in kind]})
    useless = true.assign(kind=draws.permutation(true["kind"].to_numpy()))
    return pd.DataFrame(rows, columns=["user", "item"]), true, useless


def searched(rows: pd.DataFrame, features: pd.DataFrame, seed: int) -> tuple[bool, str, float]:
    """Whether a closed form with features is found, the form, and its NDCG@10 on validation."""
    known = replace(read_frame(rows), item_features=read_features(features, "item"))
    is_valid = held_out(known, seed)
    problem = ClosedProblem(
        known.select(~is_valid), known.select(is_valid), CFConfig(seed=seed, threads=1),
        make_runtime("cpu", seed, 1),
    )  # fmt: skip
    trained = problem.train(OPEN, NullTracker(), NoCheckpoint())
    design = closed_design(trained.network.genotype)
    has = isinstance(design, ItemItem) and design.features > 0
    return has, design.expression, trained.result.valid["ndcg@10"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    seeds = range(parser.parse_args().seeds)
    found = left_out = 0
    for seed in seeds:
        begin = time.perf_counter()
        rows, true, useless = planted(seed)
        (has, told, value), (has_useless, other, less) = (
            searched(rows, table, seed) for table in (true, useless)
        )
        found, left_out = found + has, left_out + (not has_useless)
        print(f"seed {seed}: {told}, valid {value:.4f}; shuffled: {other}, valid {less:.4f}; "
              f"{time.perf_counter() - begin:.0f} s", flush=True)  # fmt: skip
    print(f"features found: {found} of {len(seeds)}; useless ones left out: {left_out}")


if __name__ == "__main__":
    main()
