"""Whole jobs with features of items and users against the same jobs without, in turn.

For each seed a job runs with the tables and one without, on the same split. Their served models are
compared on the test part, by user: per seed, and for the means over seeds. Each look at a test part
belongs into `benchmarks/results/test-log.csv`.

    python benchmarks/features.py DATA --name ml-100k [--seeds 0 1 2] [--set KEY=VALUE ...]

DATA is the folder that `SIF_DATA_DIR` names. Finished jobs in `--folder` are not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from quality import evaluations

from sif.evaluation.evaluate import Evaluation
from sif.evaluation.metrics import paired_bootstrap

ROOT = Path(__file__).resolve().parent.parent
METRIC = "ndcg@10"


@dataclass(frozen=True)
class Case:
    """Data with features.

    Attributes:
        arguments: Of a job, the data among them.
        items: Table of items; None: there is none.
        users: The same of users.
    """

    arguments: tuple[str, ...]
    items: pd.DataFrame | None
    users: pd.DataFrame | None = None


def ml_1m(data: Path) -> Case:
    """MovieLens-1M, films with genres and year."""
    panel = data / "panel"
    films = _doubled(panel / "ml-1m" / "movies.dat", ("item", "title", "genres"))
    table = films.assign(year=films["title"].str.extract(r"\((\d{4})\)$")[0])
    return Case(("--dataset", str(panel / "ml-1m-full.npz")), table.drop(columns="title"))


def ml_100k(data: Path) -> Case:
    """MovieLens-100K, films with genres and year, users with age, gender and occupation."""
    folder = data / "ml-100k"
    genres = pd.read_csv(folder / "u.genre", sep="|", names=["name", "number"]).dropna()
    films = pd.read_csv(folder / "u.item", sep="|", header=None, encoding="latin-1", dtype=str)
    has = films[films.columns[5:]].to_numpy() == "1"
    tags = ["|".join(genres["name"][row]) for row in has]
    table = pd.DataFrame({"item": films[0], "genres": tags, "year": films[2].str[-4:]})
    columns = ["user", "age", "gender", "occupation", "zip"]
    users = pd.read_csv(folder / "u.user", sep="|", names=columns, dtype=str)
    return Case(("--dataset", "ml-100k"), table, users.drop(columns="zip"))


def beauty(data: Path) -> Case:
    """Amazon Beauty, goods with attributes, the last item of each user out."""
    panel = data / "panel"
    known = json.loads((panel / "Beauty_item2attributes.json").read_text())
    tags = ["|".join(f"a{one}" for one in attributes) for attributes in known.values()]
    table = pd.DataFrame({"item": list(known), "attributes": tags})
    return Case(("--split-file", str(panel / "s3rec-Beauty.npz")), table)


CASES: dict[str, Callable[[Path], Case]] = {"ml-1m": ml_1m, "ml-100k": ml_100k, "beauty": beauty}


def _doubled(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A file of MovieLens-1M, whose separator has two characters."""
    lines = path.read_text(encoding="latin-1").splitlines()
    return pd.DataFrame([line.split("::") for line in lines], columns=list(columns))


def tables(case: Case, folder: Path) -> list[str]:
    """Settings that name the tables, which are written into a folder."""
    found = []
    for name, table in (("item", case.items), ("user", case.users)):
        if table is not None:
            path = folder / f"{name}s.csv"
            table.to_csv(path, index=False)
            found.append(f"data.{name}_features={path}")
    return found


def job(case: Case, settings: list[str], folder: Path) -> tuple[dict, Evaluation]:
    """The metrics of a job and the test of its served model; it runs unless it is finished."""
    if not (folder / "metrics.json").exists():
        command = [sys.executable, str(ROOT / "run.py"), "--task", "cf", *case.arguments]
        command += ["--output-dir", str(folder), "--no-tracking", "--quiet", "--set", *settings]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    document = json.loads((folder / "metrics.json").read_text())
    return document, evaluations(folder)[document["served"]["name"]]


def told(name: str, ours: np.ndarray, other: np.ndarray) -> str:
    """A difference with its interval and its standard error over users."""
    gap = paired_bootstrap(ours, other, seed=0)
    error = (ours - other).std(ddof=1) / np.sqrt(len(ours))
    return (
        f"{name}: with {ours.mean():.4f}, without {other.mean():.4f}, difference {gap.mean:+.4f} "
        f"({gap.low:+.4f} to {gap.high:+.4f}), standard error {error:.4f}"
    )


def by_user(one: Evaluation, users: np.ndarray) -> np.ndarray:
    """Values of the metric of some users."""
    return np.asarray(one.per_user[METRIC][np.searchsorted(one.users, users)])


def main() -> None:
    """Runs the jobs and prints the differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--name", choices=sorted(CASES), required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("runs/features"))
    parser.add_argument("--set", nargs="*", default=[], help="settings of both jobs")
    values = parser.parse_args()
    case, folder = CASES[values.name](values.data.resolve()), values.folder / values.name
    folder.mkdir(parents=True, exist_ok=True)
    named = tables(case, folder.resolve())
    sums: dict[int, list[np.ndarray]] = {}
    for seed in values.seeds:
        own = ["threads=1", *values.set, f"seed={seed}"]
        found = [
            job(case, [*own, *more], folder / f"{seed}-{kind}")
            for kind, more in (("with", named), ("without", []))
        ]
        for kind, (document, _) in zip(("with", "without"), found, strict=True):
            served = document["served"]
            print(
                f"  {kind}: {served['name']} {served['expression']}, "
                f"validation {served['valid'][METRIC]:.4f}, {document['total_seconds']:.0f} s"
            )
        users = np.intersect1d(found[0][1].users, found[1][1].users)
        ours, other = (by_user(one, users) for _, one in found)
        print(told(f"seed {seed}", ours, other), flush=True)
        for user, a, b in zip(users.tolist(), ours, other, strict=True):
            sums.setdefault(user, []).append(np.array([a, b]))
    means = np.array([np.mean(pairs, axis=0) for pairs in sums.values()])
    print(told(f"{len(values.seeds)} seeds", means[:, 0], means[:, 1]))


if __name__ == "__main__":
    main()
