"""The plan of a job: the seconds of each stage, and what is left where a budget is too small.

Pilots measure (`sif.problems.pilots`, `MethodRun.forecast`); the rest is arithmetic, so that equal
costs give equal plans.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from sif.config import TrainConfig
from sif.problems.budget import COUNTS, FEWEST, fewer_strengths, whole_epochs
from sif.problems.pair_features import further
from sif.problems.pilots import TrainingCost
from sif.search.run import Forecast
from sif.training.optim import SETTLING

EARLY = 0.6
"""Share of its epochs after which a training ends, in the mean, that stops once validation does not
improve."""
HALVING = {"halving_fraction": 0.2, "halving_keep": 0.4}
"""The halving of a grid that takes too long."""
SLOW = 0.1
"""Share of the time beyond which a baseline is slow."""
FREE = 1.0
"""Seconds of a baseline that is never left out: it costs nothing and tells most."""
HARDLY = 0.1
"""Factor of the epochs below which a function is hardly trained: second fits are worth more."""
PACED = 20.0
"""Seconds of a control at least: on small data none is cut, whatever the machine."""
FACTORS = tuple(0.9**power for power in range(80))
"""Factors of the epochs that are tried one after the other."""


@dataclass(frozen=True)
class OwnCost:
    """Seconds of an entrant whose settings are not those of the job.

    Attributes:
        search: Of its search.
        grid: Of its training, of all penalties where it has such.
        fit: Of what a second fit repeats.
        closed: Whether it is solved for at once: it is left out last.
        searching: Settings of the search in words; None: it is not searched.
        training: Those of the training.
    """

    search: float
    grid: float
    fit: float
    closed: bool = True
    searching: str | None = "closed forms"
    training: str = "penalties"

    def told(self, kind: str) -> str:
        """Settings of a kind of stage in words."""
        words = {"search": self.searching or "", "train": self.training}
        return words.get(kind, "what was chosen")


@dataclass(frozen=True)
class Costs:
    """Costs of the stages of a job, by the names of the entrants.

    Attributes:
        searches: Of their searches.
        trainings: Of their trainings.
        baselines: Seconds of the tuning of each.
        rest: Seconds of everything else.
        epochs: Of trainings, as they were asked for.
        settings: Seconds of the dearest setting of each baseline.
        rows: Rows of a second fit by its name in the setting `refit`, over those of the first.
        own: Of entrants with settings of their own, which are among none of the above.
        serves: Whether a baseline may be served, which takes a fit of its own.
        paced: Name of a control to that of the search whose seconds, with those of the training
            after it, it has.
        twice: Names of entrants that are trained once more, with features.
    """

    searches: Mapping[str, Forecast]
    trainings: Mapping[str, TrainingCost]
    baselines: Mapping[str, float]
    rest: float
    epochs: int
    settings: Mapping[str, float] = field(default_factory=dict)
    rows: Mapping[str, float] = field(default_factory=dict)
    own: Mapping[str, OwnCost] = field(default_factory=dict)
    serves: bool = False
    paced: Mapping[str, str] = field(default_factory=dict)
    twice: tuple[str, ...] = ()

    @property
    def closed(self) -> tuple[str, ...]:
        """Names of entrants in closed form."""
        return tuple(name for name, one in self.own.items() if one.closed)

    def seconds(self, config: Any, left_out: tuple[str, ...] = ()) -> dict[str, float]:
        """Estimated seconds by stage: "search ...", "train ...", "baseline ..." and "rest".

        Second fits are "refit ..." and "fit on all rows". "fit served" is that of a baseline which
        no second fit leaves at hand.

        Args:
            config: Of the job.
            left_out: Names of entrants that are not made.
        """
        train = config.train
        whole = whole_epochs(train) if isinstance(train, TrainConfig) else train.epochs
        epochs, every = self._epochs(train, whole), getattr(train, "evaluate_every", 1)
        found = {f"search {k}": one.seconds(config.search) for k, one in self.searches.items()}
        found |= {f"search {k}": one.search for k, one in self.own.items() if one.searching}
        found |= {f"train {k}": epochs * one.epoch(every) for k, one in self.trainings.items()}
        for name in {*self.twice} & self.trainings.keys():
            more = self._epochs(train, whole_epochs(further(train)))
            found[f"train {name}"] += more * self.trainings[name].epoch(every)
        found |= {f"train {k}": one.grid for k, one in self.own.items()}
        found |= {f"baseline {k}": seconds for k, seconds in self.baselines.items()}
        found |= self._second_fits(config) or self._fit_served(left_out)
        self._pace(found)
        kept = {stage: s for stage, s in found.items() if stage.partition(" ")[2] not in left_out}
        return kept | {"rest": self.rest}

    def _pace(self, found: dict[str, float]) -> None:
        """Shortens the training of each control, which is not fitted again."""
        for name, other in self.paced.items():
            training = f"train {name}"
            if training not in found or f"search {other}" not in found:
                continue
            most = paced_seconds(found[f"search {other}"] + found[f"train {other}"])
            found[training] = min(found[training], most)

    def _second_fits(self, config: Any) -> dict[str, float]:
        """Of one strength, without validation, until it settled; of one setting."""
        refit = getattr(config, "refit", "none")
        if refit not in self.rows:
            return {}
        epochs, rows = self._epochs(config.train, config.train.epochs), self.rows["valid"]
        epochs *= 1 + SETTLING
        again = {name: one for name, one in self.trainings.items() if name not in self.paced}
        once = {name: epochs * one.step * one.steps for name, one in again.items()}
        once |= {name: one.fit for name, one in self.own.items()}
        found = {f"refit {name}": rows * s for name, s in {**once, **self.settings}.items()}
        if refit == "all":
            any_of = [*once.values(), *(self.settings.values() if self.serves else ())]
            found["fit on all rows"] = self.rows["all"] * max(any_of, default=0.0)
        return found

    def _fit_served(self, left_out: tuple[str, ...]) -> dict[str, float]:
        """Of the dearest baseline at most."""
        settings = [s for name, s in self.settings.items() if name not in left_out]
        return {"fit served": max(settings)} if self.serves and settings else {}

    def _epochs(self, section: Any, total: float) -> float:
        """Epochs that a training takes of its `total`, in the mean."""
        if getattr(section, "patience", self.epochs) >= self.epochs:
            return total
        return total * min(1.0, EARLY * self.epochs / float(section.epochs))


def paced_seconds(seconds: float) -> float:
    """Those of a control's training, beside a search and a training that took so many together."""
    return max(PACED, seconds)


@dataclass(frozen=True)
class Cut:
    """How much less is done than was asked for.

    Attributes:
        strengths: Strengths of L2 at most; None: all.
        halved: Whether most strengths are dropped early.
        factor: Of the epochs.
        left_out: Names of entrants that are not made.
        once: Whether nothing is fitted again.
    """

    strengths: int | None = None
    halved: bool = False
    factor: float = 1.0
    left_out: tuple[str, ...] = ()
    once: bool = False

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
        if self.once:
            config = config.model_copy(update={"refit": "none"})
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
        optional: Names of entrants that may be left out; the last one only if it is slow.
        moves: See `Cut.applied`.

    Returns:
        What fits, or the least that there is if nothing does: a closed form, or all functions.
    """
    if seconds is None:
        return config, Cut()

    def tried(changes: Sequence[Change]) -> Tried:
        cut = _cut(changes)
        fitting = config if cut == Cut() else cut.applied(config, moves)
        return fitting, cut, sum(costs.seconds(fitting, cut.left_out).values()) <= seconds

    changes = _changes(costs, max(seconds, 0.0), optional)
    found, count = tried([]), 0
    while not found[2] and count < len(changes):
        count += 1
        found = tried(changes[:count])
    fitting, cut, _ = _given_back(changes[:count], tried, found)
    return fitting, _with_a_model(costs, cut)


def _with_a_model(costs: Costs, cut: Cut) -> Cut:
    """The cut without the cheapest closed form, where nothing else would be left to serve."""
    models = {*costs.trainings, *costs.closed}
    if not costs.closed or models - set(cut.left_out):
        return cut
    cheapest = min(costs.closed, key=lambda name: costs.own[name].search + costs.own[name].grid)
    return replace(cut, left_out=tuple(name for name in cut.left_out if name != cheapest))


Change = Mapping[str, Any] | str
"""New entries of a `Cut`, or the name of an entrant that is left out."""


Tried = tuple[Any, Cut, bool]
"""A configuration with its cut, and whether it fits."""


def _given_back(
    changes: Sequence[Change], tried: Callable[[Sequence[Change]], Tried], found: Tried
) -> Tried:
    """The same without changes that are not needed any more, the last ones first.

    Whoever is left out may have taken so long that what was cut before has time again.
    """
    if not (found[2] and changes and isinstance(changes[-1], str)):
        return found
    kept = list(changes)
    for place in reversed(range(len(changes) - 1)):
        without = kept[:place] + kept[place + 1 :]
        again = tried(without)
        if again[2]:
            kept, found = without, again
    return found


def _cut(changes: Sequence[Change]) -> Cut:
    """All changes, one after the other."""
    cut = Cut()
    for change in changes:
        if not isinstance(change, str):
            cut = replace(cut, **change)
        elif change not in cut.left_out:
            cut = replace(cut, left_out=(*cut.left_out, change))
    return cut


def _changes(costs: Costs, seconds: float, optional: tuple[str, ...]) -> list[Change]:
    """Fewer strengths of L2, halving, no controls, fewer epochs, no slow baselines; then more.

    Second fits are given up after the strengths. Where there are closed forms, which are fitted
    again at once, functions that would hardly be trained go before them, and closed forms last.
    """
    few, one = COUNTS
    dearest = sorted(optional, key=lambda name: -costs.baselines.get(name, seconds))
    dear = [
        name
        for name in dearest
        if costs.baselines.get(name, seconds) > FREE and name not in costs.closed
    ]
    controls = [name for name in dear if name not in costs.baselines]
    slow = [name for name in dear if costs.baselines.get(name, 0.0) > SLOW * seconds]
    given = [name for name in costs.trainings if name not in costs.searches]
    once: list[Change] = [{"once": True}] if costs.rows else []
    return [
        {"strengths": few},
        {"halved": True},
        *(controls if costs.baselines else ()),
        *({"factor": factor} for factor in FACTORS if factor >= FEWEST),
        *slow,
        {"strengths": one},
        *(() if costs.closed else once),
        *controls[:-1],
        *({"factor": factor} for factor in FACTORS if HARDLY <= factor < FEWEST),
        *((*costs.searches, *controls, *given, *dear) if costs.closed else ()),
        *({"factor": factor} for factor in FACTORS if factor < HARDLY),
        *(once if costs.closed else ()),
        *dear,
        *costs.closed,
    ]


def told(asked: Any, fitting: Any, cut: Cut) -> list[str]:
    """Lines on what is less than was asked for, such as "3 of 5 strengths of L2"."""
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
    if cut.once:
        lines.append("no second fits")
    if cut.left_out:
        lines.append(f"left out: {', '.join(cut.left_out)}")
    return lines


def _scaled(section: Any, factor: float) -> Any:
    """A section with fewer epochs, at least one."""
    epochs = max(1, int(section.epochs * factor))
    return section.model_copy(update={"epochs": epochs})
