"""POPNAS (Lomurno et al., GECCO 2021): PNAS that keeps good selections of every training time.

A second surrogate predicts the seconds of a training. A level keeps the Pareto front of predicted
error against predicted seconds, so that a slow good selection and a fast bad one both stay. Where
the front has more than `beam` selections, it keeps both ends and evenly spaced ones between them.
Where a search has objectives, they take the place of the seconds, with a surrogate each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from sif.core.gates import Selection
from sif.core.space import Space
from sif.methods.kind import MethodKind, seeded
from sif.methods.pnas import Progressive, ProgressiveSettings
from sif.methods.sampler import undominated


class PopnasSettings(ProgressiveSettings):
    """Settings of POPNAS."""

    measured: bool = Field(
        True,
        description="whether the second objective is the measured CPU seconds of a training, as "
        "published; false: the cost of the selection, by which a search repeats exactly",
    )


class Popnas(Progressive):
    """PNAS that keeps the front of predicted error against seconds (Lomurno et al., GECCO 2021).

    Args:
        space: Gives the blocks.
        seed: Of all that is drawn.
        settings: Of the method.
    """

    Settings = PopnasSettings

    def __init__(self, space: Space, seed: int, settings: PopnasSettings) -> None:
        self._seconds: dict[Selection, float] = {}
        self._measured = settings.measured
        super().__init__(space, seed, settings)

    def took(self, selection: Selection, seconds: float) -> None:
        """Takes the CPU seconds of a training, see `sif.core.method.TakesSeconds`."""
        self._seconds[selection] = seconds

    def _best(self, pool: Sequence[Selection]) -> list[Selection]:
        errors = self._predicted_errors(pool)
        others = [self._predicted(values, pool) for values in self._costs()]
        points = list(zip(errors, *others, strict=True))
        front = sorted(undominated(points), key=points.__getitem__)  # from the best on
        last, most = len(front) - 1, min(len(front), self._settings.beam)
        return [pool[front[n * last // max(most - 1, 1)]] for n in range(most)]

    def _costs(self) -> Sequence[Sequence[float]]:
        """Of each objective beside the error its values for all results."""
        if any(result.values for result in self.results):
            return list(zip(*(result.values for result in self.results), strict=True))
        if not self._measured:
            return [[result.cost for result in self.results]]
        return [[self._seconds.get(result.selection, 0.0) for result in self.results]]

    def state_dict(self) -> dict[str, Any]:
        """The seed, all results and their seconds."""
        seconds = [[selection.to_lists(), took] for selection, took in self._seconds.items()]
        return {**super().state_dict(), "seconds": seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replays the results with their seconds."""
        self._seconds = {Selection(lists): took for lists, took in state["seconds"]}
        super().load_state_dict(state)


POPNAS = MethodKind(seeded(Popnas), Popnas.Settings, samples=True)
