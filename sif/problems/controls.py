"""The functions that are trained alike: the one that was found, fixed multiply, a random one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from sif.core.genotype import Genotype
from sif.core.proximal import project
from sif.evaluation.scorers import InteractionScorer
from sif.problems.interactions import InteractionProblem
from sif.spaces.interaction.design import design_of
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.staged_supernet import neutral_genotype
from sif.spaces.interaction.transforms import IDENTITY
from sif.utils.random import generator

SEARCHED, FIXED, RANDOM = "searched", "fixed-multiply", "random-function"


def trained_alike(
    problem: InteractionProblem, found: Genotype, controls: Iterable[str]
) -> dict[str, Genotype]:
    """Name to function, the found one first, then those of `CONTROLS` that are named."""
    return {SEARCHED: found} | {name: CONTROLS[name](problem) for name in controls}


def fixed_multiply(problem: InteractionProblem) -> Genotype:
    """The function that nobody has to search for: the product of the embeddings.

    In a space with stages that is its neutral point, trained as every function of that space.
    """
    if problem.spec.stages:
        return neutral_genotype(len(problem.fields))
    names = dict.fromkeys(problem.fields, ((0, IDENTITY),))
    return Genotype("primitives", {"operation": ((0, "multiply"),), **names})


def random_function(problem: InteractionProblem) -> Genotype:
    """A uniform draw from the searched space; learned transforms stay as they start."""
    space = problem.searched.space()
    draws = generator(problem.runtime, "random function", device=torch.device("cpu"))
    drawn = {b.name: torch.rand(b.shape, generator=draws) for b in space.blocks}
    return space.genotype(project(drawn, space.blocks))


CONTROLS: dict[str, Callable[[InteractionProblem], Genotype]] = {
    FIXED: fixed_multiply,
    RANDOM: random_function,
}


def trained_network(
    problem: InteractionProblem, genotype: Genotype, weights: Mapping[str, Any]
) -> InteractionNetwork:
    """The network of a finished training, from the weights that it left."""
    net = problem.network(design_of(genotype, problem.fields), torch.Generator())
    net.load_state_dict(weights)
    return net


def restored(
    problem: InteractionProblem, genotype: Genotype, weights: Mapping[str, Any]
) -> InteractionScorer:
    """The scorer of a finished training, from the weights that it left."""
    return problem.scorer(trained_network(problem, genotype, weights))
