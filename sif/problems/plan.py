"""The plan of a job: the seconds of each stage, and what is left where a budget is too small.

Pilots measure (`sif.problems.pilots`, `MethodRun.forecast`); the rest is arithmetic, so that equal
costs give equal plans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from sif.config import TrainConfig
from sif.problems.budget import COUNTS, FEWEST, fewer_strengths, whole_epochs
from sif.problems.pilots import TrainingCost
from sif.search.run import Forecast

EARLY = 0.6
"""Share of its epochs after which a training ends, in the mean, that stops once validation does not
improve."""
HALVING = {"halving_fraction": 0.2, "halving_keep": 0.4}
"""The halving of a grid that takes too long."""
FACTORS = tuple(0.9**power for power in range(80))
"""Factors of the epochs that are tried one after the other."""


@dataclass(frozen=True)
class Costs:
    """What the stages of a job cost, by the names of the entrants.

    Attributes:
        searches: Of their searches.
        trainings: Of their trainings.
        baselines: Seconds of the tuning of each.
        rest: Seconds of everything else.
    """

    searches: Mapping[str, Forecast]
    trainings: Mapping[str, TrainingCost]
    baselines: Mapping[str, float]
    rest: float

    def seconds(self, config: Any, left_out: tuple[str, ...] = ()) -> dict[str, float]:
        """Estimated seconds by stage: "search ...", "train ...", "baseline ..." and "rest".

        Args:
            config: Of the job.
            left_out: Names of entrants that are not made.
        """
        train = config.train
        epochs, every = expected_epochs(train), getattr(train, "evaluate_every", 1)
        found = {f"search {k}": one.seconds(config.search) for k, one in self.searches.items()}
        found |= {f"train {k}": epochs * one.epoch(every) for k, one in self.trainings.items()}
        found |= {f"baseline {k}": seconds for k, seconds in self.baselines.items()}
        kept = {stage: s for stage, s in found.items() if stage.partition(" ")[2] not in left_out}
        return kept | {"rest": self.rest}


@dataclass(frozen=True)
class Cut:
    """How much less is done than was asked for.

    Attributes:
        strengths: Strengths of L2 at most; None: all.
        halved: Whether most strengths are dropped early.
        factor: Of the epochs.
        left_out: Names of entrants that are not made.
    """

    strengths: int | None = None
    halved: bool = False
    factor: float = 1.0
    left_out: tuple[str, ...] = ()

    def applied(self, config: Any, moves: Callable[[Any], bool]) -> Any:
        """The configuration with that much less.

        Args:
            config: As it was asked for.
            moves: True for a configuration whose searches are long enough to choose.
        """
        train, grid = config.train, isinstance(config.train, TrainConfig)
        if grid and self.strengths is not None and self.strengths < len(train.l2):
            train = fewer_strengths(train, self.strengths)
        if grid and self.halved and len(train.l2) > 1:
            most = {key: min(getattr(train, key), share) for key, share in HALVING.items()}
            train = train.model_copy(update=most)
        config = config.model_copy(update={"train": _scaled(train, self.factor)})
        if config.search.seconds is not None or config.search.steps is not None:
            return config
        longer = takewhile(lambda factor: factor >= self.factor, FACTORS)
        for factor in reversed(list(longer)):
            shorter = config.model_copy(update={"search": _scaled(config.search, factor)})
            if moves(shorter):
                return shorter
        return config


def planned(
    config: Any, costs: Costs, seconds: float | None, optional: tuple[str, ...],
    moves: Callable[[Any], bool],
) -> tuple[Any, Cut]:  # fmt: skip
    """The configuration that fits into a time, and how much less it is: the first of ever smaller.

    Args:
        config: As it was asked for.
        costs: Measured.
        seconds: Of all stages; None: no limit.
        optional: Names of entrants that may be left out; one of them is always kept.
        moves: See `Cut.applied`.

    Returns:
        What fits, or the least that there is if nothing does.
    """
    fitting, cut = config, Cut()
    for cut in _cuts(config, costs, optional):
        fitting = config if cut == Cut() else cut.applied(config, moves)
        if seconds is None or sum(costs.seconds(fitting, cut.left_out).values()) <= seconds:
            break
    return fitting, cut


def _cuts(config: Any, costs: Costs, optional: tuple[str, ...]) -> Iterator[Cut]:
    """Fewer strengths of L2, halving, fewer epochs, fewer baselines; then the rest of the first."""
    cut = Cut()
    yield cut
    first, last = COUNTS
    if isinstance(config.train, TrainConfig):
        yield (cut := replace(cut, strengths=first))
        yield (cut := replace(cut, halved=True))
    least = FEWEST if isinstance(config.train, TrainConfig) else 1 / config.train.epochs
    for factor in takewhile(lambda factor: factor >= least, FACTORS):
        yield (cut := replace(cut, factor=factor))
    alone = costs.seconds(config)
    cost = {
        name: sum(s for stage, s in alone.items() if stage.partition(" ")[2] == name)
        for name in optional
    }
    for name in sorted(optional, key=lambda name: -cost[name])[:-1]:
        yield (cut := replace(cut, left_out=(*cut.left_out, name)))
    yield (cut := replace(cut, strengths=last))
    for factor in FACTORS:
        if factor < cut.factor:
            yield replace(cut, factor=factor)


def told(asked: Any, fitting: Any, cut: Cut) -> list[str]:
    """What is less than was asked for, such as "3 of 5 strengths of L2"."""
    lines = []
    if isinstance(asked.train, TrainConfig):
        all_of, some = asked.train, fitting.train
        if len(some.l2) < len(all_of.l2):
            lines.append(f"{len(some.l2)} of {len(all_of.l2)} strengths of L2")
        if (some.halving_keep, some.halving_fraction) != (
            all_of.halving_keep, all_of.halving_fraction,
        ):  # fmt: skip
            lines.append(f"halving to {some.halving_keep:g} of the strengths")
    for name in ("search", "train"):
        wanted, rest = getattr(asked, name).epochs, getattr(fitting, name).epochs
        if rest < wanted:
            lines.append(f"{rest} of {wanted} epochs of {name}")
    if cut.left_out:
        lines.append(f"left out: {', '.join(cut.left_out)}")
    return lines


def expected_epochs(section: Any) -> float:
    """Epochs that a training takes over its grid, in the mean."""
    total = whole_epochs(section) if isinstance(section, TrainConfig) else float(section.epochs)
    patience = getattr(section, "patience", section.epochs) * getattr(section, "evaluate_every", 1)
    return total * EARLY if patience < section.epochs else total


def _scaled(section: Any, factor: float) -> Any:
    """A section with fewer epochs, at least one."""
    epochs = max(1, int(section.epochs * factor))
    return section.model_copy(update={"epochs": epochs})
