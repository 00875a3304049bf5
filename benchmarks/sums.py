"""Does the sum of two models' scores rank better, or a fit on what one of them leaves?

Sums: scores are standardized by user over the items that the user does not have. The weight of the
second model, 0 to .9, is chosen on half of the validation users and judged on the other half, and
the other way round (cross-fitted). Residuals: an item-item ridge regression with a zero diagonal on
what a model leaves of the 0/1 matrix of the train rows, at several penalties and weights. Both are
compared with the best model alone by the NDCG@10 of validation users. The test part is unused.

    python benchmarks/sums.py data.split_file=split_ratio.npz --output sums.csv
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from table_files import write_table

from sif.config import CFConfig
from sif.core.genotype import Genotype
from sif.evaluation.evaluate import Scorer, pair_matrix
from sif.evaluation.metrics import ranking_metrics
from sif.problems.configuration import load_job_config
from sif.spaces.closed.design import OPEN
from sif.tasks.cf.inputs import prepare
from sif.tasks.cf.study import InteractionStudy
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

Floats = NDArray[np.float64]
WEIGHTS = np.arange(10) / 10
PENALTIES, SHARES = (30.0, 100.0, 300.0, 1000.0), (0.25, 0.5, 1.0)
K, BLOCK = 10, 500
DENSE = 1 << 25
"""Cells of users by items up to which residuals are fitted."""


class Users:
    """Validation users, with what they have and what they want.

    Args:
        train: CSR (n_users, n_items) of the train rows.
        valid: The same of the validation rows.
        most: Users at most, drawn by a fixed seed.
    """

    def __init__(self, train: sp.csr_matrix, valid: sp.csr_matrix, most: int) -> None:
        both = np.flatnonzero((np.diff(valid.indptr) > 0) & (np.diff(train.indptr) > 0))
        self.rows = np.sort(np.random.default_rng(0).permutation(both)[:most])
        self.seen = train[self.rows].toarray() > 0
        self._wanted = valid[self.rows].toarray() > 0
        self._half = np.random.default_rng(1).integers(0, 2, len(self.rows))

    def ndcg(self, scores: Floats) -> Floats:
        """NDCG@10 (n,) of scores (n, n_items)."""
        scores = np.where(self.seen, -np.inf, scores)
        top = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        hits = np.take_along_axis(self._wanted, top, axis=1)
        return np.asarray(ranking_metrics(hits, self._wanted.sum(axis=1))[f"ndcg@{K}"])

    def standardized(self, scores: Floats) -> Floats:
        """Scores with mean 0 and deviation 1 over the items that the user does not have."""
        lowest = np.where(np.isfinite(scores), scores, np.inf).min(axis=1, keepdims=True)
        scores = np.where(np.isfinite(scores), scores, lowest)
        open_ = np.ma.masked_array(scores, self.seen)
        center = np.asarray(open_.mean(axis=1))[:, None]
        return (scores - center) / np.maximum(np.asarray(open_.std(axis=1))[:, None], 1e-12)

    def cross_fitted(self, one: Floats, other: Floats) -> tuple[Floats, list[float]]:
        """NDCG@10 (n,) of sums whose weight the other half of the users chose, and both weights."""
        each = np.array([self.ndcg((1 - w) * one + w * other) for w in WEIGHTS])
        found, chosen = np.empty(len(self.rows)), []
        for half in (0, 1):
            best = int(each[:, self._half != half].mean(axis=1).argmax())
            found[self._half == half] = each[best, self._half == half]
            chosen.append(float(WEIGHTS[best]))
        return found, chosen


def models(study: InteractionStudy, baselines: list[str]) -> dict[str, Scorer]:
    """The closed form, the searched function, fixed multiply and baselines, as chosen."""
    problem, made = study.problem, (NullTracker(), NoCheckpoint())
    found: dict[str, Scorer] = {}
    if study.closed is not None:
        found["closed"] = study.closed.scorer(study.closed.train(OPEN, *made).network)
    searched = problem.design(problem.search(*made).genotype)
    for name, design in (("searched", searched), ("fixed-multiply", fixed(study))):
        grid = [problem.train(design, *made, l2=l2) for l2 in problem.config.train.l2]
        best = max(grid, key=lambda one: problem.merit(one.result.valid))
        found[name] = problem.scorer(best.network)
    return found | {name: problem.baseline_fits.tuned(name).scorer for name in baselines}


def fixed(study: InteractionStudy) -> Genotype:
    """The product of two embeddings."""
    return study.problem.kind.multiply(study.problem.fields)


def gain(found: Floats, before: Floats) -> tuple[float, float]:
    """The mean difference by user and its standard error."""
    difference = found - before
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def sums(users: Users, scores: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """A row of the best model with each other."""
    even = {name: users.standardized(one) for name, one in scores.items()}
    alone = {name: users.ndcg(one) for name, one in even.items()}
    best = max(alone, key=lambda name: alone[name].mean())
    rows = []
    for other in (name for name in even if name != best):
        found, chosen = users.cross_fitted(even[best], even[other])
        mean, error = gain(found, alone[best])
        rows.append(
            {"kind": "sum", "model": best, "with": other, "alone": alone[best].mean(),
             "gain": mean, "error": error, "constants": f"weights {chosen}"}
        )  # fmt: skip
    return rows


def residuals(
    users: Users, train: sp.csr_matrix, scorers: Mapping[str, Scorer]
) -> list[dict[str, Any]]:
    """A row of each model with a ridge regression on what it leaves."""
    clicks, rows = train.toarray(), []
    gram = clicks.T @ clicks
    for name, scorer in scorers.items():
        scores = every(scorer, np.arange(len(clicks)))
        scores = np.where(np.isfinite(scores), scores, 0.0)
        before = users.ndcg(scores[users.rows])
        for l2 in PENALTIES:
            inverse = np.linalg.inv(gram + l2 * np.eye(len(gram)))
            weights = inverse @ (clicks.T @ (clicks - scores))
            weights -= inverse * (np.diag(weights) / np.diag(inverse))  # a zero diagonal, as EASE
            left = (clicks @ weights)[users.rows]
            for share in SHARES:
                mean, error = gain(users.ndcg(scores[users.rows] + share * left), before)
                rows.append(
                    {"kind": "residual", "model": name, "with": "ridge", "alone": before.mean(),
                     "gain": mean, "error": error, "constants": f"l2 {l2:g} weight {share:g}"}
                )  # fmt: skip
    return rows


def every(scorer: Scorer, rows: NDArray[np.int64]) -> Floats:
    """Scores (n, n_items) of rows, block by block."""
    blocks = np.array_split(rows, -(-len(rows) // BLOCK))
    return np.concatenate([np.asarray(scorer.scores(block), np.float64) for block in blocks])


def main() -> None:
    """Prints a table, and writes its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="settings of the data, one job each")
    parser.add_argument("--baselines", nargs="*", default=["als", "ease", "slim", "bpr"])
    parser.add_argument("--users", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("sums.csv"))
    asked = parser.parse_args()
    rows = []
    for data in asked.data:
        config: CFConfig = load_job_config("cf", sets=[data])
        study = prepare(config, make_runtime("cpu", 0, asked.threads))
        train, valid = (pair_matrix(part).tocsr() for part in (
            study.problem.train_part, study.problem.valid_part))  # fmt: skip
        users, scorers = Users(train, valid, asked.users), models(study, asked.baselines)
        scores = {name: every(scorer, users.rows) for name, scorer in scorers.items()}
        found = sums(users, scores)
        if np.prod(train.shape) <= DENSE:
            found += residuals(users, train, {n: s for n, s in scorers.items() if n != "closed"})
        for row in found:
            print(
                Path(data).stem, *(f"{v:.4f}" if isinstance(v, float) else v for v in row.values())
            )
        rows += [{"data": Path(data).stem, **row} for row in found]
    write_table(asked.output, rows)


if __name__ == "__main__":
    main()
