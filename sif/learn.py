"""From interactions to a served model in one go, without a run folder: search, train, choose.

As the job of `run.py --task cf`, but nothing is tested and there are no classical baselines.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sif.checkpoint import NoCheckpoint
from sif.config import CFConfig
from sif.data import Interactions, concatenate, read_frame, read_interactions, read_matrix
from sif.errors import DataError
from sif.fitting import Problem
from sif.grid import GridTraining, State
from sif.rivals import FIXED, SEARCHED, fixed_multiply, trained_network
from sif.runtime import make_runtime
from sif.served import ServedModel
from sif.spaces.functions import expression
from sif.tracking import NullTracker

VALID_SHARE = 0.1
"""Of every user's interactions, which choose where no validation part is given."""


class Unkept:
    """Does all work at once and keeps nothing (`sif.grid.Keeper`)."""

    def run(self, name: str, work: Callable[[Any], State]) -> State:
        """The result of the work."""
        return work(NoCheckpoint())

    def trim(self, name: str, key: str) -> None:
        """Nothing is kept."""


@dataclass(frozen=True)
class Teller:
    """Writes remarks to standard error, or nothing (`sif.grid.Teller`)."""

    verbose: bool

    def line(self, text: str) -> None:
        """A remark."""
        if self.verbose:
            print(text, file=sys.stderr, flush=True)

    def progress(self, stage: str, done: int, total: int, text: str) -> None:
        """Not shown."""


def interactions_of(data: Any) -> Interactions:
    """Interactions of whatever people have.

    Args:
        data: `Interactions`, a pandas data frame, a sparse user by item matrix, or a file's path.

    Raises:
        DataError: Another type, or data that cannot be used.
    """
    if isinstance(data, Interactions):
        return data
    if isinstance(data, pd.DataFrame):
        return read_frame(data)
    if isinstance(data, str | Path):
        return read_interactions(data)
    if hasattr(data, "tocoo"):
        return read_matrix(data)
    raise DataError(
        "interactions: expected a data frame, a sparse matrix, a file or Interactions, found "
        f"{type(data).__name__}"
    )


def parts(data: Any, valid: Any, seed: int) -> tuple[Interactions, Interactions, Interactions]:
    """All interactions, and their train and validation part, under the same vocabularies.

    Without a validation part, a tenth of every user's interactions, by the seed; a user with one
    keeps it in train.
    """
    known = interactions_of(data)
    if valid is not None:
        both = concatenate([known, interactions_of(valid)])
        rows = np.arange(len(both)) < len(known)
        return both, both.select(rows), both.select(~rows)
    draws = np.random.default_rng([seed, 0xF17])
    order = draws.permutation(len(known))
    users = known.ids[order, 0]
    order = order[np.argsort(users, kind="stable")]
    users = known.ids[order, 0]
    counts = np.bincount(users)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    held = np.zeros(len(known), dtype=bool)
    held[order[place < np.round(VALID_SHARE * counts)[users]]] = True
    if not held.any() or held.all():
        raise DataError(
            f"interactions: expected users with 5 or more to hold some out, found {len(known)} "
            "interactions; give valid="
        )
    return known, known.select(~held), known.select(held)


@dataclass(frozen=True, eq=False)
class Learned:
    """What came of it.

    Attributes:
        model: Serves.
        valid: Validation metrics of its function.
        found: Expression of what the search found, which validation may have set aside.
    """

    model: ServedModel
    valid: dict[str, float]
    found: str


def learn(data: Any, valid: Any, config: CFConfig, verbose: bool = False) -> Learned:
    """Searches, trains what was found and fixed multiply, and serves what validation prefers.

    Raises:
        DataError, ConfigError: Data or settings that cannot be used.
    """
    runtime, teller = make_runtime(config.device, config.seed, config.threads), Teller(verbose)
    known, train, held = parts(data, valid, config.seed)
    problem = Problem(train, held, config, runtime)
    searched = problem.search(NullTracker(), NoCheckpoint())
    genotypes = {SEARCHED: searched.genotype, FIXED: fixed_multiply(problem)}
    grid = GridTraining(config.train, problem, Unkept(), teller, NullTracker())
    states = {name: grid.train(name, genotype) for name, genotype in genotypes.items()}
    kept = FIXED if grid.better(states[FIXED], states[SEARCHED]) else SEARCHED
    genotype, state = genotypes[kept], states[kept]
    trained = trained_network(problem, genotype, state["network"])
    model = ServedModel.of(problem, genotype, trained, state["l2"], known)
    return Learned(model, state["valid"], expression(searched.genotype, problem.fields))
