"""Successive halving over the constants of closed forms, then steps around the best ones.

All users judge the first known design of every family, so that there is something good at once.
Every other candidate is judged exactly, first by few users. The better third goes on to more, the
best few to all (Jamieson and Talwalkar, AISTATS 2016). Each constant of the best design then walks
over its grid as long as it gets better. Draws have a seed of their own and judgments are
remembered, so that an interrupted search continues where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sif.errors import DivergedError
from sif.spaces.closed.family import Family, Grid
from sif.utils.climb import Climb
from sif.utils.random import derive_seed

DRAWN = 10
"""Drawn candidates of a family, beside the known ones."""
SHARE = 1 / 3
"""Share of the candidates that goes on from a level to the next."""
FINALISTS = 2
"""Candidates of each family that all users judge."""
REFINED = 2
"""Families whose best design is refined."""
NEAR = 0.93
"""Merit of a family, over the best one's, from which it is refined."""
WORK = 1e11
"""Pairs times items up to which the seconds below hold; beyond, they grow with it, as fits do."""
SWEEPS = 3
"""Walks over all constants at most."""
OPENING_SECONDS = 2.0
"""Estimated seconds of a family's first design by all users, beyond which it waits for its turn."""
LEVEL_SECONDS = 3.0
"""Estimated seconds of a family's first level, beyond which it gets fewer candidates."""
MOST_SECONDS = 4.0
"""Estimated seconds of a fit and a judgment beyond which a candidate is none."""
REFINING_SECONDS, STEPS = 10.0, 30
"""Estimated seconds of all steps around a design, and about how many there are: where so many take
longer by all users, the last level but one judges them."""


def patience(pairs: int, items: int) -> float:
    """The factor, from 1, by which bounds of seconds grow with the numbers of pairs and items."""
    return max(1.0, pairs * items / WORK)


@dataclass(frozen=True)
class Judge:
    """Judges designs at levels that hold ever more users, the last all of them.

    Attributes:
        levels: Number of levels.
        merit: Design and level to a number, the higher the better; may raise DivergedError.
        seconds: Estimated seconds of that.
        grids: Family to the grids that make a difference.
        patience: Factor by which all bounds of seconds are multiplied.
    """

    levels: int
    merit: Callable[[Family, int], float]
    seconds: Callable[[Family, int], float]
    grids: Callable[[type[Family]], Mapping[str, Grid]]
    patience: float = 1.0


class Halving:
    """One search.

    Args:
        judge: Of designs.
        families: That are searched, the quickest first.
        seed: Of the draws.
        out_of_time: Once there is a first judgment, no new one is made; those that were told count.
        told: Judgments of an earlier sitting by key; new ones are added.
        on_judged: Is told the best design and its merit, and whether all users judged it.

    Attributes:
        told: Key of a design and level to its merit.
        judged: Number of judgments, those of an earlier sitting among them.
        is_new: Whether the last one was made in this sitting.
        last: The design that was judged last, the level, and its merit; None: none yet.
        best: The best design of the last level that any reached, with its merit; None: none yet.
        finals: The best design of each family by all users, with its merit.
    """

    def __init__(
        self, judge: Judge, families: Sequence[type[Family]], seed: int,
        out_of_time: Callable[[], bool], told: dict[str, float] | None = None,
        on_judged: Callable[[Halving], None] = lambda search: None,
    ) -> None:  # fmt: skip
        self._judge, self._families, self._seed = judge, families, seed
        self._out_of_time, self._on_judged = out_of_time, on_judged
        self._patience = judge.patience
        self.told: dict[str, float] = {} if told is None else told
        self.judged, self.is_new = 0, False
        self.last: tuple[Family, int, float] | None = None
        self.best: tuple[Family, float] | None = None
        self.finals: dict[type[Family], tuple[Family, float]] = {}
        self._level = 0

    def run(self) -> Family:
        """The best design that the time allows.

        Raises:
            DivergedError: No design could be fitted.
        """
        last = self._judge.levels - 1
        finals = {type(one): (one, self._merit(one, last)) for one in self._openers()}
        for family in self._families:
            for design in self._halved(family):
                merit = self._merit(design, last)
                if merit > finals.get(family, (design, -math.inf))[1]:
                    finals[family] = design, merit
        ranked = sorted(finals.values(), key=lambda final: -final[1])[:REFINED]
        for design, merit in ranked:
            if merit >= NEAR * ranked[0][1]:
                self._refined(design, merit)
        if self.best is None:
            raise DivergedError("closed forms: no candidate could be fitted")
        return self.best[0]

    def around(self, design: Family) -> Family:
        """The best design near a known one: its constants walk over their grids as long as it pays.

        Raises:
            DivergedError: The known one cannot be fitted.
        """
        grids = self._judge.grids(type(design))
        near = {
            name: min(grid, key=lambda value: abs(value - getattr(design, name)))
            for name, grid in grids.items()
        }
        first = replace(design, **near)
        self._refined(first, self._merit(first, self._judge.levels - 1))
        if self.best is None:
            raise DivergedError("closed forms: no candidate could be fitted")
        return self.best[0]

    def _openers(self) -> list[Family]:
        """The first design of each family that all users judge soon."""
        last, most = self._judge.levels - 1, OPENING_SECONDS * self._patience
        first = (design for family in self._families for design in self._candidates(family)[:1])
        return [one for one in first if self._judge.seconds(one, last) <= most]

    def _halved(self, family: type[Family]) -> list[Family]:
        """The finalists of a family."""
        last = self._judge.levels - 1
        kept = self._candidates(family)
        for level in range(last):
            merits = {design: self._merit(design, level) for design in kept}
            most = max(FINALISTS, math.ceil(SHARE * len(kept)))
            most = FINALISTS if level == last - 1 else most
            kept = sorted(kept, key=lambda design: -merits[design])[:most]
        return kept

    def _candidates(self, family: type[Family]) -> list[Family]:
        """Known and drawn designs that can be afforded, each once."""
        grids, last = self._judge.grids(family), self._judge.levels - 1
        draws = np.random.default_rng(derive_seed(self._seed, "closed", family.name))
        sets = [family(**one).constants for one in family.known]
        for _ in range(DRAWN):
            sets.append({name: float(draws.choice(grid)) for name, grid in grids.items()})
        snapped = (
            family(**{name: min(grid, key=lambda v: abs(v - one[name]))
                      for name, grid in grids.items()})
            for one in sets
        )  # fmt: skip
        found, left = list[Family](), LEVEL_SECONDS * self._patience
        most = MOST_SECONDS * self._patience
        for design in dict.fromkeys(snapped):
            seconds = self._judge.seconds(design, 0)
            if self._judge.seconds(design, last) <= most and seconds <= left:
                found.append(design)
                left -= seconds
        return found

    def _refined(self, design: Family, merit: float) -> None:
        """Walks over one constant after the other, as long as one of them gets better."""
        grids, left = self._judge.grids(type(design)), REFINING_SECONDS * self._patience
        last = level = self._judge.levels - 1
        if not design.solves and STEPS * self._judge.seconds(design, last) > left:
            level = last - 1
            merit = self._merit(design, level)
        most = MOST_SECONDS * self._patience
        for _ in range(SWEEPS):
            before = merit
            for name, grid in grids.items():
                climb = Climb(grid, getattr(design, name))
                climb.next()
                climb.tell(merit)
                while (value := climb.next()) is not None:
                    other = replace(design, **{name: value})
                    seconds = self._judge.seconds(other, level)
                    late = seconds > left or self._judge.seconds(other, last) > most
                    if late:
                        climb.tell(-math.inf)
                        continue
                    left -= seconds
                    climb.tell(self._merit(other, level))
                design, merit = replace(design, **{name: climb.best}), climb.merit
            if merit <= before:
                break
        if level < last:
            self._merit(design, last)

    def designs(self) -> list[Family]:
        """The candidates of all families at the first level."""
        return [design for family in self._families for design in self._candidates(family)]

    def seconds(self) -> float:
        """Estimated seconds of all judgments, bounded as the search bounds itself."""
        judge, dearest = self._judge, [0.0]
        last = judge.levels - 1
        total = sum(judge.seconds(one, last) for one in self._openers())
        for family in self._families:
            kept = self._candidates(family)
            for level in range(last):
                total += sum(judge.seconds(design, level) for design in kept)
                kept = kept[: max(FINALISTS, math.ceil(SHARE * len(kept)))]
            whole = [judge.seconds(design, last) for design in kept[:FINALISTS]]
            total += sum(whole)
            dearest.append(max(whole, default=0.0))
        return total + sum(
            min(REFINING_SECONDS * self._patience, STEPS * seconds)
            for seconds in sorted(dearest)[-REFINED:]
        )

    @property
    def judged_by_all(self) -> bool:
        """True once the best design was judged by all users."""
        return self.best is not None and self._level == self._judge.levels - 1

    @property
    def _late(self) -> bool:
        return self.best is not None and self._out_of_time()

    def _merit(self, design: Family, level: int) -> float:
        """Minus infinity of a design that cannot be fitted, or for which there is no time."""
        key = f"{level} {design!r}"
        self.is_new = key not in self.told
        if self.is_new:
            if self._late:
                self.is_new = False
                return -math.inf
            try:
                self.told[key] = self._judge.merit(design, level)
            except DivergedError:
                self.told[key] = -math.inf
        merit = self.told[key]
        self.judged, self.last = self.judged + 1, (design, level, merit)
        better = self.best is None or (level, merit) > (self._level, self.best[1])
        if merit > -math.inf and better:
            self.best, self._level = (design, merit), level
        if level == self._judge.levels - 1:
            before = self.finals.get(type(design), (design, -math.inf))[1]
            if merit > before:
                self.finals[type(design)] = design, merit
        self._on_judged(self)
        return merit
