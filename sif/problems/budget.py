"""The wall-clock budget of a fit or job: the share of each stage, the training that fits into it.

A stage gets a share of the remaining time, so a later stage may spend what an earlier one saved.
Trainings stop at the end of the stage and keep the best weights so far; a search gets CPU seconds
in advance.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sif.config import TrainConfig

TOLERANCE = 1.2
"""Factor of the budget beyond which the log gives the reason."""
RESERVE = 0.05
"""Share of a budget for work that cannot be cut short: the report and the served model."""
SOON = 0.05
"""Seconds too short to measure anything."""
SMALL_SHARE = 0.1
"""Share of the excess below which a stage is no reason for it."""
FEWEST = 0.375
"""Share of the configured epochs that a training over several strengths must get; with less time
fewer strengths are trained."""
COUNTS = (3, 1)
"""Numbers of strengths to which a grid that does not fit is shortened."""
UNCUT = {
    "reading": "the data are read whole",
    "baselines": "each baseline ends its setting",
    "pilots": "a pilot takes a few steps and a validation",
    "search": "a search takes a pilot and a step",
    "serving": "serving is never cut short",
    "last fit": "a last fit takes an epoch",
}
"""Reason why each stage may exceed its share."""
UNCUT_TRAINING = "a training takes an epoch"
"""The same of all other stages."""


@dataclass
class TimeBudget:
    """A budget with its clock, which runs from the beginning on.

    Attributes:
        seconds: Of the whole fit or job; None: no limit.
        clock: Tells seconds; tests bring their own.
        cpu_clock: Tells CPU seconds of the process.
        spent: Name of each stage to the seconds that it took.
        beyond: Name of each stage to the seconds that it took more than it was allowed.
        start: What the clock told at the beginning; None: it begins now.
    """

    seconds: float | None
    clock: Callable[[], float] = time.perf_counter
    cpu_clock: Callable[[], float] = time.process_time
    spent: dict[str, float] = field(default_factory=dict)
    beyond: dict[str, float] = field(default_factory=dict)
    start: float | None = None

    def __post_init__(self) -> None:
        self._start = self.clock() if self.start is None else self.start
        self._end = math.inf
        self.begin_work()

    def begin_work(self) -> None:
        """Begins the measurement of `parallel` anew."""
        self._work = self.clock(), self.cpu_clock()

    @property
    def parallel(self) -> float:
        """CPU seconds of a second of the clock, since work began; 1 where that was just now.

        Threads make them more, other processes on the machine fewer.
        """
        since, cpu_since = self._work
        seconds, cpu = self.clock() - since, self.cpu_clock() - cpu_since
        return max(cpu / seconds, 0.1) if seconds > SOON else 1.0

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self.clock() - self._start

    @property
    def left(self) -> float:
        """Seconds until the budget is used; infinite without one, negative once it is."""
        return math.inf if self.seconds is None else self.seconds - self.elapsed

    @property
    def stage_left(self) -> float:
        """Seconds until the share of the present stage is used; infinite without a budget."""
        return self._end - self.elapsed

    def out_of_time(self) -> bool:
        """True if the present stage has used its share."""
        return self.elapsed >= self._end

    @contextmanager
    def stage(
        self, name: str, share: float = 1.0, least: float = 0.0, later: float = 0.0
    ) -> Iterator[float]:
        """Runs the block as a stage that is out of time after its share.

        Args:
            name: Of the stage; one of several blocks adds up.
            share: Of the remaining time, less the `RESERVE` and what is kept for later.
            least: Share of the whole budget that the stage gets even if nothing is left.
            later: Seconds that are kept for later stages.

        Yields:
            The seconds of the stage; infinite without a budget.
        """
        begin = self.elapsed
        allowed = self.allowed(share, least, later)
        self._end = begin + allowed
        try:
            yield allowed
        finally:
            self._end = math.inf
            took = self.elapsed - begin
            self.spent[name] = self.spent.get(name, 0.0) + took
            if took > max(allowed, 0.0):
                self.beyond[name] = self.beyond.get(name, 0.0) + took - max(allowed, 0.0)

    def allowed(self, share: float = 1.0, least: float = 0.0, later: float = 0.0) -> float:
        """Seconds of a stage that begins now; infinite without a budget. See `stage`."""
        whole = self.seconds or 0.0
        return max(least * whole, share * (self.left - RESERVE * whole - later))

    def limit(self, seconds: float) -> None:
        """Ends the present stage after so many seconds from now, if not before."""
        self._end = min(self._end, self.elapsed + seconds)

    def reserve(self, seconds: float) -> None:
        """Ends the present stage that much earlier, for what follows from it."""
        self._end -= seconds

    def verdict(self) -> str | None:
        """Says how far a budget was exceeded, where the time went, and which stages took too much.

        None: it was kept.
        """
        if self.seconds is None or self.elapsed <= TOLERANCE * self.seconds:
            return None
        stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.spent.items())
        late = [
            f"; {name} {seconds:.1f} s beyond its share: {UNCUT.get(name, UNCUT_TRAINING)}"
            for name, seconds in sorted(self.beyond.items(), key=lambda item: -item[1])
            if seconds >= SMALL_SHARE * (self.elapsed - self.seconds)
        ]
        took = f"expected at most {self.seconds:g} s, took {self.elapsed:.1f} s ({stages})"
        return f"budget: {took}{''.join(late)}"


@dataclass(frozen=True)
class Deadline:
    """The end of a stage as other processes and machines know it: by the time of the day.

    Attributes:
        moment: Seconds of `time.time`; infinite: there is none.
    """

    moment: float

    def __call__(self) -> bool:
        """True once it is over."""
        return time.time() >= self.moment


class StageEnd:
    """Tells a job when its present stage has to end. In another process it is a `Deadline`.

    Args:
        budget: Of the job.
        late: Called when it has to.
    """

    def __init__(self, budget: TimeBudget, late: Callable[[], None]) -> None:
        self._budget, self._late = budget, late

    def __call__(self) -> bool:
        """True once the stage has to end."""
        late = self._budget.out_of_time()
        if late:
            self._late()
        return late

    def __reduce__(self) -> Any:
        return Deadline, (time.time() + self._budget.stage_left,)


def fitting(
    section: TrainConfig, epoch_seconds: float, seconds: float, again: float = 0.0
) -> TrainConfig:
    """Shortens a training over the grid of strengths until it fits; returns the section if it does.

    Strengths at the ends of the grid are given up first, then epochs: three strengths that have
    trained say more than five that have not.

    Args:
        section: As it was asked for.
        epoch_seconds: Seconds of an epoch with its share of a validation.
        seconds: Of the training, and of a second fit where there is one.
        again: Rows of a second fit over those of the first; 0: there is none.
    """
    affordable = seconds / max(epoch_seconds, 1e-9)
    if affordable >= whole_epochs(section) + again * section.epochs:
        return section

    def cost(strengths: int, epochs: int) -> float:
        return _epochs(section, strengths, epochs) + again * epochs

    enough = math.ceil(FEWEST * section.epochs)
    counts = [n for n in (len(section.l2), *COUNTS) if n <= len(section.l2)]
    count = next((n for n in counts if affordable >= cost(n, enough)), 1)
    epochs = max(1, int(section.epochs * affordable / cost(count, section.epochs)))
    return fewer_strengths(section, count, epochs=min(epochs, section.epochs))


def fewer_strengths(section: TrainConfig, count: int, **changed: Any) -> TrainConfig:
    """A section with the middle of its strengths, none beyond them, and other changes."""
    strengths = sorted(section.l2)
    first = (len(strengths) - count) // 2
    kept = {"l2": tuple(strengths[first : first + count]), "extend_grid": 0}
    return section.model_copy(update={**kept, **changed})


def whole_epochs(section: TrainConfig) -> float:
    """Epochs of a training over the grid, at most, strengths beyond its ends left out."""
    return _epochs(section, len(section.l2), section.epochs)


def _epochs(section: TrainConfig, strengths: int, epochs: int) -> float:
    """Epochs of all strengths together: the first part of each, the rest of those that are kept."""
    kept = max(1, round(strengths * section.halving_keep))
    return epochs * (strengths * section.halving_fraction + kept * (1 - section.halving_fraction))
