"""NSGA-II (Deb et al., IEEE TEC 2002), by pymoo: validation error against costs.

The row of a selection (`sif.core.selections`) is the chromosome. As for the binary strings of the
paper (section IV), parents cross at a single point and a mutation draws each number afresh with a
chance of one over their number; rows that the population has are not bred again. Where a search has
no objectives the cost of a selection is the second one. Selections without costs make it constant,
and the method a plain genetic algorithm on the error.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from sif.core.gates import Selection
from sif.core.method import Plan
from sif.core.space import Space
from sif.methods.kind import MethodKind
from sif.methods.sampler import Evaluated, Sampler, bounded, undominated
from sif.methods.settings import MethodSettings
from sif.utils.optional import library
from sif.utils.units import Unit


class Nsga2Settings(MethodSettings):
    """Settings of NSGA-II."""

    population: Annotated[int, Field(ge=2), Unit("selections")] = Field(
        16, description="selections of a generation"
    )


class Nsga2(Sampler):
    """A genetic search for low error at low cost, each selection trained from scratch (Deb, 2002).

    Args:
        space: Gives the blocks.
        seed: Of all that is drawn.
        settings: Of the method.
        objectives: Number of objectives beside the error; 0: the cost of the selection is one.

    Raises:
        ConfigError: pymoo is not installed.
    """

    Settings = Nsga2Settings

    def __init__(
        self, space: Space, seed: int, settings: Nsga2Settings, objectives: int = 0
    ) -> None:
        self._population, self._others = settings.population, objectives or 1
        super().__init__(space, seed)

    def _restart(self) -> None:
        self._algorithm = _algorithm(
            self.selections.sizes, self._population, self.seed, 1 + self._others
        )
        self._infill: Any = None
        self._told: list[Evaluated] = []

    def _next(self) -> Selection | None:
        if self._infill is None:
            self._infill = self._algorithm.ask()
            if self._infill is None or not len(self._infill):
                return None  # nothing can be bred that the population does not have
        return self.selections.from_row([int(x) for x in self._infill[len(self._told)].X])

    def ahead(self, most: int) -> list[Selection]:
        """The rest of the generation, see `sif.core.method.AsksAhead`."""
        if self.ask() is None:
            return []
        rows = self._infill[len(self._told) :][:most]
        return [self.selections.from_row([int(x) for x in row.X]) for row in rows]

    def _learn(self, result: Evaluated) -> None:
        self._told.append(result)
        if len(self._told) == len(self._infill):
            errors = bounded([told.error for told in (*self.results, result)])
            others = [told.others for told in self._told]
            self._infill.set("F", np.column_stack([errors[-len(others) :], others]))
            # Those that keep the bounds come before all others (Deb, 2002, section VI).
            self._infill.set("G", np.array([[told.excess] for told in self._told]))
            self._algorithm.tell(infills=self._infill)
            self._infill, self._told = None, []

    def front(self) -> list[Evaluated]:
        """The results that no other result dominates, by rising last objective."""
        points = [(t.error, *t.others) for t in self.results]
        return [self.results[n] for n in undominated(points)]


def _algorithm(sizes: tuple[int, ...], population: int, seed: int, objectives: int) -> Any:
    nsga2, core, crossover, sampling, mutation = (
        library(f"pymoo.{module}", "method nsga2", extra="bench")
        for module in (
            "algorithms.moo.nsga2", "core.problem", "operators.crossover.pntx",
            "operators.sampling.rnd", "core.mutation",
        )
    )  # fmt: skip
    upper = np.array(sizes) - 1

    class Afresh(mutation.Mutation):  # type: ignore[misc, name-defined]
        def _do(self, problem: Any, X: Any, *_: Any, random_state: Any, **__: Any) -> Any:
            drawn = random_state.integers(0, upper + 1, size=X.shape)
            changed = random_state.random(X.shape) < 1 / len(upper)
            return np.where(changed, drawn, X)

    problem = core.Problem(
        n_var=len(sizes), n_obj=objectives, n_ieq_constr=1, xl=0 * upper, xu=upper, vtype=int
    )
    algorithm = nsga2.NSGA2(
        pop_size=population,
        sampling=sampling.IntegerRandomSampling(),
        crossover=crossover.SinglePointCrossover(),
        mutation=Afresh(prob=1.0),
        eliminate_duplicates=True,
        seed=seed,
    )
    algorithm.setup(problem, termination=("n_gen", 2**31))
    return algorithm


def _made(space: Space, settings: Nsga2Settings, plan: Plan, draws: torch.Generator) -> Nsga2:
    """A genetic search for low error at low cost, each selection trained from scratch."""
    return Nsga2(space, draws.initial_seed() % 2**32, settings, plan.objectives)


NSGA2 = MethodKind(_made, Nsga2.Settings, samples=True)
