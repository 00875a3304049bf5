"""Controls of a searched function, trained like it: fixed multiply and a random function."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sif.core.genotype import Genotype
from sif.core.proximal import project
from sif.problems.interactions import InteractionProblem
from sif.utils.random import generator

FIXED, RANDOM = "fixed-multiply", "random-function"


def fixed_multiply(problem: InteractionProblem) -> Genotype:
    """The function that needs no search: the product of the embeddings.

    In a space with stages that is its neutral point, trained as every function of that space.
    """
    return problem.at_similarity(problem.kind.multiply(problem.fields))


def random_function(problem: InteractionProblem) -> Genotype:
    """A uniform draw from the searched space; learned transforms stay as they start."""
    space = problem.method_run().make_space(False)  # `search.choices` holds for it, too
    draws = generator(problem.runtime, "random function", device=torch.device("cpu"))
    drawn = {b.name: torch.rand(b.shape, generator=draws) for b in space.blocks}
    return space.genotype(project(drawn, space.blocks))


CONTROLS: dict[str, Callable[[InteractionProblem], Genotype]] = {
    FIXED: fixed_multiply,
    RANDOM: random_function,
}
