"""Promises of methods, spaces, losses, problems and recommenders, as suites for their authors.

    check_method(Trial("hill-climb", toy_run("space=primitives")))
    check_space(InteractionCase("metric"))
    check_loss(TEMPERED)
    check_recommender(MyCase())

A suite runs its checks one after the other; `SPACE_CHECKS` and the like are its checks by
themselves, for a test of each. A promise that is not kept is a `ContractError`, an AssertionError
that says on one line what was expected and what was found. No test library is needed. Code within
an `Accelerator` runs under the rules of a GPU, without one.
"""

from __future__ import annotations

from sif.testing.accelerator import Accelerator, Usage
from sif.testing.interactions import InteractionCase, toy_batch, toy_part
from sif.testing.losses import LOSS_CHECKS, LossCase, check_loss
from sif.testing.methods import Trial, check_method
from sif.testing.places import MixedDevicesError
from sif.testing.problems import check_problem
from sif.testing.promises import ContractError
from sif.testing.recommenders import RECOMMENDER_CHECKS, RecommenderCase, check_recommender
from sif.testing.spaces import SPACE_CHECKS, SpaceCase, check_space
from sif.testing.toys import toy_problem, toy_run

__all__ = [
    "LOSS_CHECKS",
    "RECOMMENDER_CHECKS",
    "SPACE_CHECKS",
    "Accelerator",
    "ContractError",
    "InteractionCase",
    "LossCase",
    "MixedDevicesError",
    "RecommenderCase",
    "SpaceCase",
    "Trial",
    "Usage",
    "check_loss",
    "check_method",
    "check_problem",
    "check_recommender",
    "check_space",
    "toy_batch",
    "toy_part",
    "toy_problem",
    "toy_run",
]
