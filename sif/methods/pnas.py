"""PNAS (Liu et al., ECCV 2018): a search that widens by a surrogate's ranking.

The paper's cells grow by a block per level. Here edges are fixed, so what grows is the number of
nodes with a free choice: at level b the first b nodes are free, and all others keep the choice of
one neutral selection. A level tries every choice of its node in the selections that the level
before kept. A surrogate ranks these, the first ones are trained, and it learns from them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from sif.config.sections import Rate
from sif.core.gates import Selection
from sif.core.space import Space
from sif.methods.kind import MethodKind, seeded
from sif.methods.sampler import Evaluated, Sampler, bounded
from sif.methods.settings import MethodSettings
from sif.methods.surrogate import Surrogate
from sif.utils.units import Unit


class ProgressiveSettings(MethodSettings):
    """Settings of PNAS and POPNAS."""

    beam: Annotated[int, Field(ge=1), Unit("selections")] = Field(
        8,
        description="selections that each level keeps, this project's choice for tens of "
        "candidates; PNAS has 256 (Liu et al., ECCV 2018, section 5.1)",
    )
    l2: Annotated[Rate, Unit("selections")] = Field(
        1.0, description="penalty of the surrogate, a ridge regression; this project's choice"
    )


class Progressive(Sampler):
    """The levels of PNAS and POPNAS; a subclass says which selections a level keeps.

    Args:
        space: Gives the blocks.
        seed: Of all that is drawn.
        settings: Of the method.

    Attributes:
        level: Number of nodes that are free.
        kept: Selections that this level keeps, of which known ones are not trained again.
    """

    Settings = ProgressiveSettings

    def __init__(self, space: Space, seed: int, settings: ProgressiveSettings) -> None:
        self._settings = settings
        super().__init__(space, seed)

    @abstractmethod
    def _best(self, pool: Sequence[Selection]) -> list[Selection]:
        """The selections of a pool in random order that are kept, `beam` at most."""

    def _restart(self) -> None:
        self._draws = torch.Generator().manual_seed(self.seed)
        self._had: set[Selection] = set()
        self.level, self.kept = 0, [self._neutral()]
        self._pool, self._queue = self.kept, list[Selection]()
        self._widen()

    def _neutral(self) -> Selection:
        """A drawn selection, with the default operation in every block that has one."""
        drawn = self.selections.drawn(self._draws).to_lists()
        for block in self.selections.blocks:
            if block.default_op is not None:
                default = block.operations.index(block.default_op)
                drawn[block.name] = [default if k >= 0 else -1 for k in drawn[block.name]]
        return Selection(drawn)

    def _next(self) -> Selection | None:
        return self._queue[0] if self._queue else None

    def ahead(self, most: int) -> list[Selection]:
        """The rest of the level, see `sif.core.method.AsksAhead`."""
        return self._queue[:most]

    def _learn(self, result: Evaluated) -> None:
        self._had.add(result.selection)
        self._queue.pop(0)

    def tell(self, selection: Selection, error: float, cost: float) -> None:
        """Takes the result of a selection; after the last one of a level, goes on to the next."""
        super().tell(selection, error, cost)
        if not self._queue:
            self._widen()

    def _widen(self) -> None:
        """The next level with untrained selections; after the last one, the rest of its pool."""
        nodes = self.selections.open_nodes
        while not self._queue and self.level < len(nodes):
            wider = (self.selections.varied(one, nodes[self.level]) for one in self.kept)
            self._pool = list(dict.fromkeys(one for many in wider for one in many))
            self.level += 1
            self._keep(self._pool)
        if not self._queue:
            self._keep([one for one in self._pool if one not in self._had])

    def _keep(self, pool: Sequence[Selection]) -> None:
        order = torch.randperm(len(pool), generator=self._draws).tolist()
        drawn = [pool[number] for number in order]  # equals do not go by their place
        self.kept = self._best(drawn) if self.results else drawn[: self._settings.beam]
        self._queue = [one for one in self.kept if one not in self._had]

    def _predicted(self, values: Sequence[float], pool: Sequence[Selection]) -> list[float]:
        """The pool's values, up to a rising linear function, by those of all results."""
        seen = [result.selection for result in self.results]
        fitted = Surrogate(self.selections.blocks, seen, values, self._settings.l2)
        return [float(value) for value in fitted.predict(pool)]

    def _predicted_errors(self, pool: Sequence[Selection]) -> list[float]:
        return self._predicted(bounded([result.error for result in self.results]), pool)


class Pnas(Progressive):
    """A search that frees one node after another by a surrogate's ranking (Liu et al., ECCV 2018).

    Args:
        space: Gives the blocks.
        seed: Of all that is drawn.
        settings: Of the method.
    """

    def _best(self, pool: Sequence[Selection]) -> list[Selection]:
        errors = self._predicted_errors(pool)
        order = sorted(range(len(pool)), key=errors.__getitem__)
        return [pool[number] for number in order[: self._settings.beam]]


PNAS = MethodKind(seeded(Pnas), Pnas.Settings, samples=True)
