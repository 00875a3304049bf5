"""How the trainings of cell-bench are made: data, space and settings.

Spaces are small enough that every cell was trained. Nothing is downloaded: images are the digits of
scikit-learn.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from sif.config import load_config
from sif.tasks import cnn, rnn
from sif.tasks.study import Study
from sif.utils.device import make_runtime

SEEDS = (0, 1, 2)
"""Of splits, weights and batches."""


@dataclass(frozen=True)
class Recipe:
    """One table.

    Attributes:
        name: Of the table.
        task: Of its jobs.
        sets: Settings over the task's defaults, "key=value".
    """

    name: str
    task: str
    sets: tuple[str, ...]


NORMAL = "[skip_connect, sep_conv_3x3, max_pool_3x3]"
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "images", "cnn",
            (
                "dataset=digits", "search.nodes=2", "train.channels=4", "train.cells=3",
                "train.epochs=12", "search.channels=4", "baselines=[]",
                f"search.choices={{normal: {NORMAL}, reduce: [max_pool_3x3]}}",
            ),
        ),
    )
}  # fmt: skip
"""Two nodes a cell, three operations, and a reduction cell of poolings: 729 networks."""

PREPARE = {"cnn": cnn.prepare, "rnn": rnn.prepare}


@functools.cache
def study_of(recipe: Recipe, seed: int, *sets: str) -> Study:
    """The job of a recipe, with data read and problem made.

    Args:
        recipe: Of the table.
        seed: One of `SEEDS`, or another.
        sets: Further settings, such as the length of a search.
    """
    config = load_config(recipe.task, sets=[*recipe.sets, *sets], flags={"seed": seed})
    prepare: Any = PREPARE[recipe.task]
    study: Study = prepare(config, make_runtime("cpu", seed, threads=1))
    return study
