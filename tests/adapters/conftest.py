"""Recommenders of chosen functions, trained on a checkerboard of two tastes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import pandas as pd
import pytest

from sif.config import CFConfig, load_config
from sif.core.genotype import Genotype
from sif.problems.base import Session
from sif.problems.interactions import InteractionProblem
from sif.recommender.inputs import parts
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender
from sif.utils.device import make_runtime

USERS, ITEMS = 30, 20
QUICK = (
    "train.epochs=60", "train.patience=60", "train.dimension=8", "train.l2=[0.003]",
    "train.lr=0.05",
)  # fmt: skip
Maker = Callable[..., Recommender]
Board = Callable[..., pd.DataFrame]


def genotype(operation: str, encoding: str = "id") -> Genotype:
    """A genotype of "staged"; with the encoding "primitives" of that space, whose w is trained."""
    if encoding == "primitives":
        names = {"operation": operation, "user": "~sqrt", "item": "~square"}
        return Genotype("primitives", {block: ((0, name),) for block, name in names.items()})
    blocks = {
        "operation": ((0, operation),), "encoding": ((0, encoding), (1, "id")),
        "embedding": ((0, "identity"),), "weighting": ((0, "even"),),
    }  # fmt: skip
    return Genotype("staged", blocks)


def _model(
    checkerboard: Board, operation: str, objective: str, encoding: str, rare: bool
) -> ServedModel:
    found = genotype(operation, encoding)
    sets = [f"objective={objective}", f"space={found.space}", "threads=1", *QUICK]
    config = load_config("cf", sets=sets, flags={"seed": 0, "device": "cpu"})
    assert isinstance(config, CFConfig)
    frame = checkerboard(USERS, ITEMS, objective == "rating", rare)
    if rare:  # what no train part has: an item and a user of the validation part alone
        held = frame.item.eq("rare") | frame.user.eq("late")
        known, train, valid = parts(frame[~held], frame[held], 0)
    else:
        known, train, valid = parts(frame, None, 0)
    problem = InteractionProblem(train, valid, config, make_runtime("cpu", 0, 1))
    session = Session()
    trained = problem.fit("it", found, session)
    return ServedModel.of(problem, found, trained.network, trained.numbers["l2"], known)


@pytest.fixture(scope="session")
def make(checkerboard: Board) -> Maker:
    """A recommender with a function of the operation's name."""
    model = cache(partial(_model, checkerboard))

    def made(
        operation: str = "multiply", objective: str = "ranking", encoding: str = "id",
        rare: bool = False,
    ) -> Recommender:  # fmt: skip
        recommender = Recommender(objective)
        recommender._serve(model(operation, objective, encoding, rare))
        return recommender

    return made


@pytest.fixture(scope="session")
def frame(checkerboard: Board) -> pd.DataFrame:
    return checkerboard(USERS, ITEMS)


@pytest.fixture(scope="session")
def rated_frame(checkerboard: Board) -> pd.DataFrame:
    return checkerboard(USERS, ITEMS, rated=True)
