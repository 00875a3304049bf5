"""Does the search over closed forms find the family that suits generated data?

Kinds of data, each with its own truth per seed:

- item-item: complements. Two in three items are taken by popularity, each of the others is drawn
  by one or two of them. So there are as many links as items, which no low rank holds, and items of
  equal popularity differ in how far others explain them: weights have to say what an item adds to
  the others. A tenth of each user's items is held out.
- filter: neighbors. Users take the items that suit 16 factors of theirs best, with little noise,
  so that a graph of neighbors is what there is to know, and its spectrum falls without an end.
- spectrum: tastes. The same with 24 factors and more noise than signal, so that all but the first
  singular vectors are noise. A third is held out, as of neighbors.

An oracle says which family is right: of each, the best constants by NDCG@10 of 4,000 fresh users,
whom the search never sees, and then NDCG@10 of 4,000 others, by histories of the same kind and
weights of the same train part. A standard error is that of the mean difference of two families
over as many users as validation has. Generators were tuned on seeds from 100 on, and this was laid
down before the first measurement:

- found: the search chose the planted family, and no other family of the oracle comes as near as
  half a standard error. `filter` and `chebyshev` are one family here: both are polynomials of the
  same similarity.
- missed: the search chose another one.
- tied: another family is within half a standard error, or ahead. No success, whatever was chosen.

    python benchmarks/planted_families.py --output benchmarks/results/planted-families.csv
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from sif.config import CFConfig, load_config
from sif.data.interactions import Interactions, Vocabulary
from sif.evaluation.metrics import ranking_metrics
from sif.problems.closed_forms import closed_problem
from sif.problems.halving import Halving, Judge
from sif.problems.interactions import InteractionProblem
from sif.spaces.closed.clicks import Clicks
from sif.spaces.closed.design import FAMILIES, OPEN, closed_design
from sif.spaces.closed.family import Family
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Generate = Callable[[np.random.Generator, int], Flags]
"""Users to what they take: bool (n_users, n_items)."""

FRESH = 4000
"""Users by whom the oracle chooses constants, and as many by whom it judges them."""
TIE = 0.5
"""Standard errors within which two families are alike."""
K = 10
FEWEST = 4
"""Items of a user at least."""


def complements(
    rng: np.random.Generator, users: int, mains: int = 130, others: int = 70, rate: float = 0.06,
    strength: float = 0.9, most: int = 2,
) -> Flags:  # fmt: skip
    """Items that are taken by popularity, and others that they draw.

    Args:
        rng: Of the links first, then of the users.
        users: Number of users.
        mains: Items that are taken by popularity, rank^-0.4.
        others: Items that one to `most` mains draw, each by itself with chance strength / sqrt of
            their number.
        rate: Mean chance of a main.
        strength: Chance that the only main of an item draws it.
        most: Mains of an item.
    """
    popularity = rng.permutation(np.arange(1, mains + 1) ** -0.4)
    links = np.zeros((mains, others))
    for item in range(others):
        n = rng.integers(1, most + 1)
        links[rng.choice(mains, n, replace=False), item] = strength / math.sqrt(n)
    taken = rng.random((users, mains)) < popularity * rate * mains / popularity.sum()
    drawn = rng.random((users, others)) < 1 - np.exp(taken @ np.log1p(-links))
    both = np.hstack([taken, drawn])
    few = both.sum(axis=1) < FEWEST
    return both | taken_best(rng.random(both.shape), np.where(few, FEWEST, 0))


def tastes(
    rng: np.random.Generator, users: int, items: int = 300, factors: int = 16, noise: float = 0.3,
    popularity: float = 0.3, length: int = 16,
) -> Flags:  # fmt: skip
    """Each user takes the items above a threshold of his own.

    Args:
        rng: Of the users' factors, which come in order, and the items'.
        users: Number of users.
        items: Number of items.
        factors: Gaussian ones, whose product has a deviation of 1.
        noise: Deviation of each pair's own part.
        popularity: Deviation of what all users alike find in an item.
        length: Items of a user on average, from half of it to half as many again.
    """
    of_items = rng.normal(size=(items, factors)) / math.sqrt(factors)
    alike = popularity * rng.normal(size=items)
    scores = rng.normal(size=(users, factors)) @ of_items.T + alike
    scores += noise * rng.normal(size=scores.shape)
    return taken_best(scores, rng.integers(length // 2, length + length // 2 + 1, users))


def taken_best(scores: Floats, counts: NDArray[np.int64]) -> Flags:
    """The counts[u] best items of every user."""
    places = (-scores).argsort(axis=1).argsort(axis=1)
    return places < counts[:, None]


@dataclass(frozen=True)
class Kind:
    """Data for which a family is right.

    Attributes:
        generate: Of the data.
        right: The families that are the planted one.
        users: Of the train and validation parts.
        share: Of each user's items that is held out, one at least.
    """

    generate: Generate
    right: tuple[str, ...]
    users: int
    share: float


def neighbors(rng: np.random.Generator, users: int) -> Flags:
    """Tastes with little noise."""
    return tastes(rng, users)


def noisy_tastes(rng: np.random.Generator, users: int) -> Flags:
    """More factors, with much noise and no popularity."""
    return tastes(rng, users, factors=24, noise=1.2, popularity=0.0, length=30)


KINDS: Mapping[str, Kind] = {
    "item-item": Kind(complements, ("item-item",), 3000, 0.1),
    "filter": Kind(neighbors, ("filter", "chebyshev"), 2000, 0.35),
    "spectrum": Kind(noisy_tastes, ("spectrum",), 2000, 0.35),
}


@dataclass(frozen=True)
class Users:
    """What some users have taken, and what is held out: bool (n_users, n_items) each."""

    histories: Flags
    wanted: Flags


def data(kind: str, seed: int) -> tuple[Users, Users, Users]:
    """Users of train and validation, those by whom the oracle chooses, and those who judge."""
    one, rng = KINDS[kind], np.random.default_rng([seed, *kind.encode()])
    taken = one.generate(rng, one.users + 2 * FRESH)
    counts = np.maximum(1, (one.share * taken.sum(axis=1)).astype(np.int64))
    wanted = taken_best(np.where(taken, rng.random(taken.shape), -1.0), counts)
    histories = taken & ~wanted
    starts = 0, one.users, one.users + FRESH, len(taken)
    first, second, third = (
        Users(histories[begin:end], wanted[begin:end]) for begin, end in itertools.pairwise(starts)
    )
    return first, second, third


def ndcg(scores: NDArray[np.float32], users: Users) -> Floats:
    """NDCG@10 (n_users,) of scores (n_users, n_items) among the items that users do not have."""
    open_scores = torch.from_numpy(np.where(users.histories, -np.inf, scores))
    top = open_scores.topk(K).indices.numpy()
    hits = np.take_along_axis(users.wanted, top, axis=1)
    return ranking_metrics(hits, users.wanted.sum(axis=1))[f"ndcg@{K}"]


def rows(taken: Flags) -> Interactions:
    """Interactions of (n_users, n_items) flags."""
    names = tuple(Vocabulary(np.arange(size)) for size in taken.shape)
    return Interactions(np.argwhere(taken), ("user", "item"), names)


def searched(users: Users, seed: int) -> Family:
    """The design that the search finds."""
    config = load_config("cf", sets=[f"seed={seed}", "threads=1"])
    assert isinstance(config, CFConfig)
    runtime = make_runtime("cpu", seed, 1)
    problem = closed_problem(
        InteractionProblem(rows(users.histories), rows(users.wanted), config, runtime)
    )
    assert problem is not None
    return closed_design(problem.train(OPEN, NullTracker(), NoCheckpoint()).network.genotype)


class Oracle:
    """The best constants of each family, as no search can know them.

    Args:
        users: Of train and validation; only their histories are fitted on.
        choosing: Fresh users, who choose constants.
        judging: Other fresh users.

    Attributes:
        designs: Family to its best design.
        merits: Family to NDCG@10 of each judging user.
    """

    def __init__(self, users: Users, choosing: Users, judging: Users) -> None:
        self._clicks = Clicks(sp.csr_matrix(users.histories.astype(np.float32)), 0)
        self._users = len(users.histories)
        self.designs: dict[str, Family] = {}
        self.merits: dict[str, Floats] = {}
        chosen: dict[str, float] = {}
        for name, family in FAMILIES.items():
            judge = Judge(
                1, lambda design, level: float(self.ndcg(design, choosing).mean()),
                lambda design, level: 0.0, lambda kind: kind.grids_on(self._clicks),
            )  # fmt: skip
            search = Halving(judge, (family,), 0, lambda: False)
            self.designs[name] = search.run()
            assert search.best is not None
            chosen[name] = search.best[1]
            self.merits[name] = self.ndcg(self.designs[name], judging)
        self._chosen = chosen

    def ndcg(self, design: Family, users: Users) -> Floats:
        """NDCG@10 (n_users,) of a design's scores of the items that users do not have."""
        every = sp.csr_matrix(sp.identity(self._clicks.n_items, dtype=np.float32))
        weights = design.weights(self._clicks).scores(every)
        return ndcg(users.histories.astype(np.float32) @ weights, users)

    def best(self, names: tuple[str, ...]) -> str:
        """Of some families the one that the choosing users prefer."""
        return max(names, key=lambda name: self._chosen[name])

    def ahead(self, right: tuple[str, ...]) -> float:
        """Standard errors by which the right families are ahead of the best other one."""
        one = self.merits[self.best(right)]
        return min(
            float((one - other).mean() / (one - other).std() * math.sqrt(self._users))
            for name, other in self.merits.items()
            if name not in right
        )


def verdict(found: str, right: tuple[str, ...], ahead: float) -> str:
    """Of a seed, as the head of this file defines it."""
    if ahead <= TIE:
        return "tied"
    return "found" if found in right else "missed"


def measured(kind: str, seed: int) -> dict[str, object]:
    """A row of the table."""
    users, choosing, judging = data(kind, seed)
    begin = time.process_time()
    design = searched(users, seed)
    seconds = time.process_time() - begin
    oracle, right = Oracle(users, choosing, judging), KINDS[kind].right
    ahead = oracle.ahead(right)
    return {
        "kind": kind, "seed": seed, "found": design.name,
        "verdict": verdict(design.name, right, ahead), "ahead_se": f"{ahead:.1f}",
        **{name: f"{merit.mean():.4f}" for name, merit in oracle.merits.items()},
        "found_design": f"{oracle.ndcg(design, judging).mean():.4f}",
        "design": design.expression, "seconds": f"{seconds:.1f}",
    }  # fmt: skip


def tabulate(
    measure: Callable[[str, int], dict[str, object]], kinds: Sequence[str], told: str
) -> None:
    """Writes one CSV row per kind and seed as they come, and prints how many were found.

    Args:
        measure: Kind and seed to a row, with a verdict.
        kinds: That are measured, unless the command names some.
        told: Of the command.
    """
    parser = argparse.ArgumentParser(description=told)
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=tuple(kinds))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    values = parser.parse_args()
    torch.set_num_threads(1)
    values.output.parent.mkdir(parents=True, exist_ok=True)
    verdicts: dict[str, Counter[object]] = {kind: Counter() for kind in values.kinds}
    with values.output.open("w", newline="") as file:
        writer: csv.DictWriter[str] | None = None
        for seed in range(values.first_seed, values.first_seed + values.seeds):
            for kind in values.kinds:
                row = measure(kind, seed)
                if writer is None:
                    writer = csv.DictWriter(file, list(row))
                    writer.writeheader()
                writer.writerow(row)
                file.flush()
                print(*row.values(), sep="  ", flush=True)
                verdicts[kind][row["verdict"]] += 1
    for kind, counts in verdicts.items():
        counted = ", ".join(f"{n} {name}" for name, n in counts.most_common())
        print(f"{kind}: {counted} of {counts.total()}")


def main() -> None:
    """Measures all kinds of data."""
    tabulate(measured, tuple(KINDS), str(__doc__).splitlines()[0])


if __name__ == "__main__":
    main()
