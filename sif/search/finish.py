"""The finish of a search: what a method proposes trains alone, by a bracket of successive halving.

Shared weights rank selections poorly, so a method that shares them may search for a part of its
budget and leave the rest to trainings of their own. All of it is the loop of samplers
(`sif.search.candidates`) with given selections; the random ones of the method `successive-halving`
at the same budget tell what the search before it is worth. A length is counted in units: a training
of the first rung takes one, so any budget that has a step for each unit is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sif.config import SearchSection
from sif.config.sections import FinishSection
from sif.core.gates import Selection
from sif.core.genotype import Genotype
from sif.core.stream import Checkpointer
from sif.errors import ConfigError
from sif.methods.successive_halving import SuccessiveHalvingSettings
from sif.search.candidate import State
from sif.search.loop import SearchResult

USED = 0.9
"""Share of the seconds that a bracket is planned for: what it costs is known from a few steps."""
PILOTS = 3
"""Proposals, evenly spaced, on which the cost of a step is measured."""


def without_finish(section: SearchSection, steps: int, per_epoch: int) -> SearchSection:
    """The section of the search that comes before a finish.

    Args:
        section: Of both together.
        steps: Weight steps of the finish (`steps_of`).
        per_epoch: Weight steps of an epoch.
    """
    none: dict[str, Any] = {"finish": FinishSection()}
    if section.seconds is not None:
        none["seconds"] = (1 - section.finish.share) * section.seconds
    elif section.steps is not None:
        none["steps"] = section.steps - steps
    else:
        none["epochs"] = section.epochs - -(-steps // per_epoch)
    return section.model_copy(update=none)


@dataclass(frozen=True)
class Bracket:
    """The trainings of a finish.

    Attributes:
        settings: Of successive halving, with the number of selections that begin.
        unit: Weight steps of a training of the first rung.
    """

    settings: SuccessiveHalvingSettings
    unit: int

    @property
    def units(self) -> int:
        """Length of all trainings."""
        return self.settings.bracket_length

    @property
    def whole(self) -> int:
        """Units of a training to the end."""
        return int(self.settings.eta ** (self.settings.rungs - 1))

    @property
    def steps(self) -> int:
        """Weight steps of all trainings."""
        return self.units * self.unit


def bracket(
    settings: SuccessiveHalvingSettings, steps: int, judging: float = 0.0
) -> Bracket | None:  # fmt: skip
    """The longest bracket for so many weight steps, of fewer selections if there is no other.

    Args:
        settings: Of successive halving, with the number of selections at most.
        steps: At most.
        judging: Weight steps that the judgment after each training costs.

    Returns:
        The bracket; None: two selections do not fit.
    """
    for candidates in range(settings.candidates, 1, -1):
        fewer = settings.model_copy(update={"candidates": candidates})
        unit = int((steps - judging * sum(fewer.sizes())) // fewer.bracket_length)
        if unit > 0:
            return Bracket(fewer, unit)
    return None


def steps_of(section: SearchSection, per_epoch: int) -> int:
    """Weight steps of a finish, whole epochs where the search is one of epochs."""
    if section.steps is not None:
        return round(section.finish.share * section.steps)
    return round(section.finish.share * section.epochs) * per_epoch


def planned_bracket(
    section: SearchSection, settings: SuccessiveHalvingSettings, per_epoch: int
) -> Bracket:
    """The bracket of a search by epochs or steps.

    Raises:
        ConfigError: The share leaves no step to the search, or too few to the finish.
    """
    steps = steps_of(section, per_epoch)
    planned = bracket(settings, steps)
    name = "epochs" if section.steps is None else "steps"
    found = f"found {section.finish.share:g} of search.{name} {getattr(section, name)}"
    if planned is None:
        fewest = settings.model_copy(update={"candidates": 2}).bracket_length
        raise ConfigError(
            f"search.finish.share: expected at least {fewest} weight steps, in which two "
            f"selections train, {found}: {steps} steps"
        )
    whole = section.epochs * per_epoch if section.steps is None else section.steps
    if steps >= whole:
        raise ConfigError(f"search.finish.share: expected a search before the finish, {found}")
    return planned


@dataclass(frozen=True, eq=False)
class Begun:
    """A finish that has begun, as its checkpoints hold it.

    Attributes:
        searched: Result of the search before it.
        proposals: Selections that train, the best first.
        bracket: Their trainings.
        spent: CPU seconds that the pilot of the finish took.
        inner: State of the trainings; None: at their beginning.
    """

    searched: SearchResult
    proposals: Sequence[Selection]
    bracket: Bracket
    spent: float = 0.0
    inner: State | None = None

    def state(self) -> State:
        """For checkpoints, without `inner`."""
        return {
            "searched": {**vars(self.searched), "genotype": self.searched.genotype.to_json()},
            "proposals": [one.to_lists() for one in self.proposals],
            "settings": self.bracket.settings.model_dump(mode="json"),
            "unit": self.bracket.unit,
            "spent": self.spent,
        }

    @classmethod
    def restored(cls, state: State | None) -> Begun | None:
        """From a checkpoint; None where the search before it has not ended."""
        if state is None or "searched" not in state:
            return None
        told = state["searched"]
        settings = SuccessiveHalvingSettings(**state["settings"])
        return cls(
            SearchResult(**{**told, "genotype": Genotype.from_json(told["genotype"])}),
            [Selection(lists) for lists in state["proposals"]],
            Bracket(settings, state["unit"]), state["spent"], state["inner"],
        )  # fmt: skip

    def after(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """A history entry of the trainings, with the clocks of the whole search."""
        ours = self.searched
        return {
            **entry,
            "seconds": ours.seconds + entry["seconds"],
            "cpu_seconds": ours.cpu_seconds + self.spent + entry["cpu_seconds"],
            "steps": ours.steps + entry["steps"],
        }

    def epochs(self, units: int, per_epoch: int) -> int:
        """Epochs of the search and so many units, rounded up."""
        return self.searched.epochs + -(-units * self.bracket.unit // per_epoch)

    @staticmethod
    def left_out(searched: SearchResult) -> SearchResult:
        """A search whose finish had no time."""
        none = {"finished": 0.0, "finish_changed": 0.0}
        return replace(searched, diagnostics={**searched.diagnostics, **none})

    def result(self, finished: SearchResult, per_epoch: int) -> SearchResult:
        """Both together: the best of the trainings, and what the search was like.

        Args:
            finished: The trainings.
            per_epoch: Weight steps of an epoch.
        """
        ours, best = self.searched, finished.history[-1]["selection"]
        changed = best != self.proposals[0].to_lists()
        trained = dict(ours.trained)
        for name, counts in finished.trained.items():
            trained[name] = trained[name] + counts if name in trained else counts
        return replace(
            finished,
            diagnostics={
                **ours.diagnostics,
                "finished": finished.diagnostics["arch_steps"],
                "finish_changed": float(changed),
            },
            trained=trained,
            history=[*ours.history, *map(self.after, finished.history)],
            seconds=ours.seconds + finished.seconds,
            epochs=self.epochs(finished.epochs, per_epoch),
            steps=ours.steps + finished.steps,
            cpu_seconds=ours.cpu_seconds + self.spent + finished.cpu_seconds,
            at_rest="" if changed else ours.at_rest,
        )


class FinishCheckpointer(Checkpointer):
    """Keeps the state of the trainings with that of the finish.

    Args:
        whole: Keeps the state of the search.
        begun: The finish.
    """

    def __init__(self, whole: Checkpointer, begun: Begun) -> None:
        self._whole, self._begun = whole, begun

    def restore(self) -> State | None:
        """State of the trainings, or None at their beginning."""
        return self._begun.inner

    def offer(self, state: Callable[[], State | None]) -> None:
        """Saves both states if it is due."""
        self._whole.offer(lambda: {**self._begun.state(), "inner": state()})
