"""Users whom nobody knows, by who they are: MovieLens 100K with its table of users.

The features are age, gender, occupation, and the first digit of the postal code. The protocol
`cold-users` has a fifth of the users in test alone, a tenth in valid alone. A job of some two
minutes prints, for the new users of test, the served model by features and four baselines.

`--shuffled N` looks at no test part. It fits one model on train, gives users the features of other
users, N times, and counts how often features are nevertheless kept: by the new users of valid, and
by known users who are asked as if they were new, as a fit does.

    python benchmarks/new_users.py --seeds 0
    python benchmarks/new_users.py --shuffled 50
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

import sif
from sif.data.download import locate
from sif.data.features import read_features
from sif.data.interactions import Interactions
from sif.data.interactions.load import load_dataset
from sif.data.interactions.split import make_split
from sif.data.recipe import list_datasets
from sif.evaluation.new_ids import rows_of_new
from sif.recommender.model import ServedModel
from sif.recommender.user_choice import UserChoice, chosen_constants, with_user_choice
from sif.recommender.user_stand import trained_users

RUN = Path(__file__).parents[1] / "run.py"
SETTINGS = (
    "threads=1", "data.protocol=cold-users", "controls=[fixed-multiply]",
    "baselines=[popularity,ease,als]", "refit=valid",
)  # fmt: skip


def people(folder: Path) -> pd.DataFrame:
    """The table of users: age, gender, occupation, region."""
    names = ["user", "age", "gender", "occupation", "zip"]
    table = pd.read_csv(folder / "u.user", sep="|", names=names, dtype=str)
    region = [f"z{code[0]}" if code[:1].isdigit() else "abroad" for code in table["zip"]]
    return table.drop(columns="zip").assign(region=region)


def job(seed: int, table: Path, folder: Path) -> dict[str, Any]:
    """Metrics of one job."""
    words = [sys.executable, RUN, "--task", "cf", "--dataset", "ml-100k", "--no-tracking"]
    sets = [*SETTINGS, f"seed={seed}", f"data.user_features={table}"]
    done = subprocess.run(
        [*words, "--output-dir", folder, "--set", *sets],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def measured(seed: int, table: Path, folder: Path) -> str:
    """The new users of a job's test part, a line for each model."""
    begin = time.perf_counter()
    found = job(seed, table, folder)
    new, served = found["new_users"], found["served"]["expression"]
    lines = [f"seed {seed}: {new['users']} new users; served {served}; {new['alikeness']}"]
    for name, one in new["models"].items():
        less = one.get("comparison")
        told = less and f"{less['difference']:+.4f} ({less['low']:+.4f} to {less['high']:+.4f})"
        test, valid = one["test"], one["valid"]["ndcg@10"]
        lines.append(
            f"  {name:20} valid {valid:.4f}, ndcg@10 {test['ndcg@10']:.4f}, recall@20 "
            f"{test['recall@20']:.4f}, ours less it {told or '-'} {one['expression']}"
        )
    return "\n".join([*lines, f"  {time.perf_counter() - begin:.0f} s"])


def choices(
    model: ServedModel, train: Interactions, valid: Interactions, seed: int
) -> tuple[UserChoice, UserChoice | None]:
    """By the new users of valid, and by known ones who are asked as if they were new."""
    rows = rows_of_new(train, valid, 0)
    names = [rows.vocabularies[field].ids[rows.ids[:, field]] for field in (0, 1)]
    users, items = (model.vocabularies[field].index(names[field]) for field in (0, 1))
    new = np.unique(users)
    shape = len(new), len(model.vocabularies[1])
    entries = np.ones(len(rows), np.float32), (np.searchsorted(new, users), items)
    truth = sp.csr_matrix(entries, shape=shape)
    return chosen_constants(model, new, truth, trained_users(model)), with_user_choice(model, seed)[
        1
    ]


def shuffled(table: pd.DataFrame, times: int) -> str:
    """How often features of other users are kept."""
    split = make_split(load_dataset("ml-100k"), "cold-users", 0)
    rows = split.train
    columns = [rows.vocabularies[field].ids[rows.ids[:, field]] for field in (0, 1)]
    frame = pd.DataFrame({"user": columns[0], "item": columns[1]})
    settings = {"search.stages": ["closed", "operation"]}
    model = sif.Recommender(threads=1, baselines=[], settings=settings)
    model.fit(frame, user_features=read_features(table, "user"))
    served, kept = model.fitted_model(), [0, 0]
    lines = [
        f"true features: {[one and one.told for one in choices(served, rows, split.valid, 0)]}"
    ]
    for draw in range(times):
        features = served.user_features
        assert features is not None
        order = np.random.default_rng(draw).permutation(len(features.vocabulary))
        other = replace(served, user_features=replace(features, matrix=features.matrix[order]))
        for place, one in enumerate(choices(other, rows, split.valid, draw)):
            kept[place] += one is not None and one.constants is not None
    lines.append(
        f"of {times} shuffled tables kept: {kept[0]} by new users, {kept[1]} by known ones"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[])
    parser.add_argument("--shuffled", type=int, default=0)
    given = parser.parse_args()
    table = people(locate(list_datasets()["ml-100k"], None)[0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.csv"
        table.to_csv(path, index=False)
        for seed in given.seeds:
            print(measured(seed, path, Path(folder) / str(seed)), flush=True)
    if given.shuffled:
        print(shuffled(table, given.shuffled))


if __name__ == "__main__":
    main()
