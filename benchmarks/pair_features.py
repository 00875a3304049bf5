"""Functions of pairs on ML-100K with features of films and people, and without, over seeds.

Genres and years of films, and age, gender and occupation of people, are a searched stage. A job's
search and training run with the stage and without it, on the same split. So the last column is
what the stage changes, also where validation left features out.

    SIF_DATA_DIR=DATA python benchmarks/pair_features.py --folder DATA/ml-100k --seeds 3
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from sif.config import CFConfig
from sif.data.features import read_features
from sif.data.interactions import make_split
from sif.data.interactions.load import load_dataset
from sif.problems.base import Reporter, Session
from sif.problems.configuration import load_job_config
from sif.problems.interactions import InteractionProblem
from sif.spaces.interaction.design import has_features
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

STAGES = "encoding,operation,weighting"


def tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features of films and of people, from the files of ML-100K."""
    named = pd.read_csv(folder / "u.genre", sep="|", header=None)[0].tolist()
    films = pd.read_csv(folder / "u.item", sep="|", header=None, encoding="latin-1")
    tags = ["|".join(name for name, has in zip(named, row, strict=True) if has)
            for row in films.iloc[:, 5 : 5 + len(named)].to_numpy()]  # fmt: skip
    years = pd.to_datetime(films[2], format="%d-%b-%Y").dt.year
    people = pd.read_csv(folder / "u.user", sep="|", header=None)
    return (
        pd.DataFrame({"item": films[0].astype(str), "genres": tags, "year": years}),
        pd.DataFrame({"user": people[0].astype(str), "age": people[1], "gender": people[2],
                      "occupation": people[3]}),
    )  # fmt: skip


class Lines(Reporter):
    """Prints what validation says of features."""

    def line(self, text: str) -> None:
        if "features" in text:
            print("   ", text, flush=True)


def fitted(seed: int, features: bool, of: str, folder: Path, epochs: int) -> tuple[float, str]:
    """NDCG@10 at test of a searched function, and the function."""
    stages = f"{STAGES},features" if features else STAGES
    sets = [f"search.stages=[{stages}]", f"search.epochs={epochs}", f"seed={seed}", "threads=1"]
    config = load_job_config("cf", sets=["dataset=ml-100k", *sets])
    assert isinstance(config, CFConfig)
    dataset = load_dataset("ml-100k")
    films, people = tables(folder)
    own = {"item_features": read_features(films, "item")} if "items" in of else {}
    own |= {"user_features": read_features(people, "user")} if "users" in of else {}
    rows = replace(dataset.interactions, **own)
    split = make_split(replace(dataset, interactions=rows), "ranking-per-user", seed)
    problem = InteractionProblem(split.train, split.valid, config, make_runtime("cpu", seed, 1))
    begin = time.perf_counter()
    found = problem.search(NullTracker(), NoCheckpoint())
    trained = problem.fit("searched", found.genotype, Session(console=Lines()))
    kept = problem.trained_design(found.genotype, trained)
    value, valid = problem.test(trained.network, split), trained.result.valid["ndcg@10"]
    told = f"{problem.expression(kept)}, valid {valid:.4f}, {time.perf_counter() - begin:.0f} s"
    if has_features(found.genotype) and not has_features(kept):
        told += " (features left out)"
    return value.metrics["ndcg@10"], told


def main() -> None:
    """Prints NDCG@10 at test with the stage and without it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--of", choices=("items", "users", "items+users"), default="items+users")
    parser.add_argument("--epochs", type=int, default=125, help="of the search")
    parser.add_argument("--folder", type=Path, required=True, help="of ML-100K, with u.item")
    values = parser.parse_args()
    gains = []
    for seed in range(values.seeds):
        found = []
        for features in (False, True):
            test, told = fitted(seed, features, values.of, values.folder, values.epochs)
            found.append(test)
            print(f"seed {seed}, {'with' if features else 'no'} stage: test {test:.4f}; {told}",
                  flush=True)  # fmt: skip
        gains.append(found[1] - found[0])
    print(f"gain of the stage at test: {np.mean(gains):+.4f} in the mean, {np.round(gains, 4)}")


if __name__ == "__main__":
    main()
