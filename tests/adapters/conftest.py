"""Recommenders of chosen functions, trained on a checkerboard of two tastes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
import pytest

from sif.config import CFConfig, load_config
from sif.fitting import Problem
from sif.genotype import Genotype
from sif.grid import GridTraining
from sif.learn import Teller, Unkept, parts
from sif.recommender import SIFRecommender
from sif.rivals import trained_network
from sif.runtime import make_runtime
from sif.served import ServedModel
from sif.tracking import NullTracker

USERS, ITEMS = 30, 20
QUICK = (
    "train.epochs=60", "train.patience=60", "train.dimension=8", "train.l2=[0.003]",
    "train.lr=0.05",
)  # fmt: skip
Maker = Callable[..., SIFRecommender]


def board(rated: bool = False, rare: bool = False) -> pd.DataFrame:
    """Users like items of their own parity; a fifth of what they like they do not have yet.

    Args:
        rated: Everything has a rating, 5 or 1.
        rare: One item and one user have a single interaction.
    """
    draws = np.random.default_rng(0)
    rows = [
        (f"u{u}", f"i{i}", 5.0 if (u + i) % 2 == 0 else 1.0)
        for u in range(USERS)
        for i in range(ITEMS)
        if (rated or (u + i) % 2 == 0) and draws.random() < 0.8
    ]
    rows += [("u0", "rare", 5.0), ("late", "i0", 5.0)] * rare
    frame = pd.DataFrame(rows, columns=["user", "item", "rating"])
    return frame if rated else frame[["user", "item"]]


def genotype(operation: str, encoding: str = "id") -> Genotype:
    blocks = {
        "operation": ((0, operation),), "encoding": ((0, encoding), (1, "id")),
        "embedding": ((0, "identity"),), "weighting": ((0, "even"),),
    }  # fmt: skip
    return Genotype("rich", blocks)


@cache
def _model(operation: str, objective: str, encoding: str, rare: bool) -> ServedModel:
    sets = [f"objective={objective}", "space=rich", "threads=1", *QUICK]
    config = load_config("cf", sets=sets, flags={"seed": 0, "device": "cpu"})
    assert isinstance(config, CFConfig)
    frame = board(objective == "rating")
    if rare:  # what no train part has: an item and a user of the validation part alone
        frame = board(objective == "rating", rare=True)
        held = frame.item.eq("rare") | frame.user.eq("late")
        known, train, valid = parts(frame[~held], frame[held], 0)
    else:
        known, train, valid = parts(frame, None, 0)
    problem = Problem(train, valid, config, make_runtime("cpu", 0, 1))
    grid = GridTraining(config.train, problem, Unkept(), Teller(False), NullTracker())
    found = genotype(operation, encoding)
    state = grid.train("it", found)
    network = trained_network(problem, found, state["network"])
    return ServedModel.of(problem, found, network, state["l2"], known)


@pytest.fixture(scope="session")
def make() -> Maker:
    """A recommender with a function of the operation's name."""

    def made(
        operation: str = "multiply", objective: str = "ranking", encoding: str = "id",
        rare: bool = False,
    ) -> SIFRecommender:  # fmt: skip
        recommender = SIFRecommender(objective)
        recommender._serve(_model(operation, objective, encoding, rare))
        return recommender

    return made


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    return board()


@pytest.fixture(scope="session")
def rated_frame() -> pd.DataFrame:
    return board(rated=True)
