"""Successive halving (Jamieson and Talwalkar, AISTATS 2016): many begin, the best train longer.

A bracket begins with short trainings of proposed selections. The best 1/eta of a rung go on from
where they stopped, to eta times the length, until the last rung's are as long as the training of
any other sampler's candidate. Brackets follow each other until the budget ends. This is the inner
loop of Hyperband; with proposals of `tpe` it is near to BOHB (Falkner et al., ICML 2018).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Annotated, Literal

from pydantic import Field

from sif.core.gates import Selection
from sif.core.method import AsksAhead
from sif.core.space import Space
from sif.methods.kind import MethodKind, seeded
from sif.methods.random_search import RandomSampling
from sif.methods.sampler import Evaluated, Sampler
from sif.methods.settings import MethodSettings
from sif.methods.tpe import Tpe
from sif.utils.units import Unit

REPROPOSALS = 100
"""Known selections that may be proposed in a row before nothing new is expected."""
PROPOSERS: dict[str, type[Sampler]] = {"random": RandomSampling, "tpe": Tpe}


class SuccessiveHalvingSettings(MethodSettings):
    """Settings of successive halving."""

    eta: Annotated[int, Field(ge=2), Unit("ratio")] = Field(
        3,
        description="1/eta of a rung go on to eta times the length (Hyperband: Li et al., JMLR "
        "2018, section 3.6)",
    )
    rungs: Annotated[int, Field(ge=1, le=10), Unit("rungs")] = Field(
        3,
        description="lengths of training in a bracket, the last of which is "
        "`search.candidate_epochs`; this project's choice",
    )
    candidates: Annotated[int, Field(ge=1, le=64), Unit("selections")] = Field(
        9, description="selections that begin a bracket; by default one reaches the last rung"
    )
    proposals: Literal["random", "tpe"] = Field(
        "random",
        description="sampler that proposes what begins; tpe learns from the errors of first rungs",
    )

    def sizes(self) -> list[int]:
        """Number of selections in each rung of a full bracket."""
        found = [self.candidates]
        while len(found) < self.rungs:
            found.append(max(found[-1] // self.eta, 1))
        return found

    @property
    def bracket_length(self) -> int:
        """Length of all trainings of a full bracket, in lengths of a training of its first rung."""
        lengths = [0, *(self.eta**rung for rung in range(self.rungs))]
        added = [after - before for before, after in itertools.pairwise(lengths)]
        return sum(size * more for size, more in zip(self.sizes(), added, strict=True))


class Listed(Sampler):
    """Given selections in their order.

    Args:
        space: Gives the blocks.
        selections: Different ones.
    """

    def __init__(self, space: Space, selections: Sequence[Selection]) -> None:
        self._listed = list(selections)
        super().__init__(space, 0)

    def _restart(self) -> None:
        """Begins with the first one: what was told is all that counts."""

    def _next(self) -> Selection | None:
        return next(iter(self.ahead(1)), None)

    def ahead(self, most: int) -> list[Selection]:
        """Those that follow, see `sif.core.method.AsksAhead`."""
        done = len(self.results)
        return self._listed[done : done + most]


class SuccessiveHalving(Sampler):
    """Many short trainings, the best of which go on (Jamieson and Talwalkar, AISTATS 2016).

    Args:
        space: Gives the blocks.
        seed: Of all that is drawn.
        settings: Of the method.
        listed: Selections that begin its only bracket; None: a sampler proposes for many.

    Raises:
        ConfigError: Proposals of tpe, where Optuna is not installed.
    """

    Settings = SuccessiveHalvingSettings

    def __init__(
        self, space: Space, seed: int, settings: SuccessiveHalvingSettings,
        listed: Sequence[Selection] | None = None,
    ) -> None:  # fmt: skip
        self._space, self._settings, self._listed = space, settings, listed
        super().__init__(space, seed)

    def _restart(self) -> None:
        self._proposer = self._made_proposer()
        self._first: dict[Selection, Evaluated] = {}
        self._begin_bracket()

    def _made_proposer(self) -> Sampler:
        if self._listed is not None:
            return Listed(self._space, self._listed)
        return PROPOSERS[self._settings.proposals](self._space, self.seed)

    def _begin_bracket(self) -> None:
        self.rung, self._going = 0, list[Selection]()
        self._rung_results: list[Evaluated] = []

    def share(self) -> float:
        """Length of the training that `ask` asks for, see `sif.core.method.AsksLength`."""
        return float(self._settings.eta) ** (self.rung - self._settings.rungs + 1)

    def open(self) -> Collection[Selection]:
        """The selections that may train longer, see `sif.core.method.AsksLength`."""
        waiting = self._going[len(self._rung_results) :]
        return {*waiting, *self._survivors(self._size // self._settings.eta)}

    def ahead(self, most: int) -> Sequence[Selection]:
        """The rest of the rung, see `sif.core.method.AsksAhead`; of the first, what is known."""
        following = self.ask()
        if following is None:
            return []
        done = len(self._rung_results)
        if self.rung:
            return self._going[done:][:most]
        if isinstance(self._proposer, AsksAhead):
            return self._proposer.ahead(min(most, self._size - done))
        return [following]

    @property
    def _size(self) -> int:
        """Number of selections in this rung."""
        return len(self._going) if self.rung else self._settings.candidates

    def _survivors(self, most: int) -> list[Selection]:
        """The best of this rung so far, one at least; none in the last rung."""
        if self.rung == self._settings.rungs - 1:
            return []
        ranked = sorted(self._rung_results, key=lambda t: t.error)
        return [result.selection for result in ranked[: max(most, 1)]]

    def _next(self) -> Selection | None:
        if self.rung == 0:
            proposed = self._proposed()
            if proposed is not None or not self._rung_results:
                return proposed
            self._promote()  # a bracket that is not full: the space is used up
            if self.rung == 0:
                return None
        return self._going[len(self._rung_results)]

    def _proposed(self) -> Selection | None:
        for _ in range(REPROPOSALS):
            selection = self._proposer.ask()
            if selection is None or selection not in self._first:
                return selection
            known = self._first[selection]
            self._proposer.tell(selection, known.error, known.cost)
        return None

    def _learn(self, result: Evaluated) -> None:
        if self.rung == 0:
            self._first[result.selection] = result
            self._proposer.tell(result.selection, result.error, result.cost)
        self._rung_results.append(result)
        if len(self._rung_results) == self._size:
            self._promote()

    def _promote(self) -> None:
        going = self._survivors(len(self._rung_results) // self._settings.eta)
        if not going:
            self._begin_bracket()
            return
        self.rung, self._going, self._rung_results = self.rung + 1, going, []


SUCCESSIVE_HALVING = MethodKind(seeded(SuccessiveHalving), SuccessiveHalving.Settings, samples=True)
