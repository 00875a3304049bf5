"""The request for a bench, which is checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sif import tasks
from sif.bench.plan import BUDGETS, Budget, Entrant, Plan
from sif.config import CFConfig, CommonConfig, config_model, differences
from sif.config.cf import OWN_STAGES
from sif.config.loading import dotted, parsed_item
from sif.config.renamed import todays_name
from sif.errors import ConfigError, SifError
from sif.methods.registry import METHODS
from sif.problems.configuration import load_job_config
from sif.tasks.registry import task_named
from sif.utils.argument_types import check_fields
from sif.utils.registry import unknown

_OWN = ("method", "seed", "threads", "baselines", "controls", "output_dir")


@dataclass(frozen=True)
class Request:
    """A bench as it is asked for.

    Attributes:
        task: Name of the task; None takes it from `file`.
        methods: Names of search methods, or entrants with settings of their own.
        seeds: Seeds of the trials, or their number, from 0.
        budget: Budget of every search, such as "30s" (CPU seconds) or "500steps".
        against: The reference of differences; None: the first method that takes part.
        file: YAML file or preset of all trials, as for `load_job_config`.
        sets: "key=value" of all trials.
        flags: Dotted key to value of all trials; a value of None was not given.

    Examples:
        >>> from sif.bench import Request
        >>> plan = Request("cf", ["nasp", "random"], seeds=2, budget="500steps").plan()
        >>> [trial.name for trial in plan.trials()]
        ['nasp-0', 'random-0', 'nasp-1', 'random-1']
    """

    task: str | None = None
    methods: Sequence[str | Entrant] = ()
    seeds: Sequence[int] | int = ()
    budget: str = ""
    against: str | None = None
    file: str | Path | None = None
    sets: Sequence[str] = ()
    flags: Mapping[str, Any] | None = None

    def plan(self) -> Plan:
        """The plan, as far as names and settings tell; no data are read.

        Raises:
            ConfigError: One line.
        """
        check_fields(self)
        entrants = tuple(Entrant(m, m) if isinstance(m, str) else m for m in self.methods)
        budget = Budget.parse(self.budget)
        seeds = self._seeds
        if not seeds or len(set(seeds)) < len(seeds):
            found = ", ".join(map(str, seeds)) or "none"
            raise ConfigError(f"seeds: expected at least one, all different, found {found}")
        _check_sets(self.sets)
        given = dotted(self.flags or {}).items()
        _check_sets([f"{key}={value}" for key, value in given if value is not None])
        task = load_job_config(self.task, file=self.file, sets=self.sets, flags=self.flags).task
        _check_names(entrants, self.against)
        job = self._config(task, budget, replace(entrants[0], sets=()))
        if getattr(job, "cells", None) is not None:
            raise ConfigError("cells: expected none, since a bench compares searches")
        for entrant in entrants:
            self._config(task, budget, entrant)
        return Plan(entrants, seeds, budget, self.against or entrants[0].name, job, {})

    @property
    def _seeds(self) -> tuple[int, ...]:
        return tuple(range(self.seeds) if isinstance(self.seeds, int) else self.seeds)

    def checked(self) -> Plan:
        """The plan after asking for every entrant whether its job could run.

        Data are read once per entrant. What refuses all entrants is wrong with the input; what
        refuses some is theirs.

        Raises:
            SifError: One line.
        """
        plan = self.plan()
        refused: dict[str, SifError] = {}
        for entrant in plan.entrants:
            try:
                tasks.check(self._config(plan.job.task, plan.budget, entrant))
            except SifError as error:
                refused[entrant.name] = error
        if len(refused) == len(plan.entrants):
            raise next(iter(refused.values()))
        if self.against in refused:
            raise ConfigError(f"against {self.against}: {refused[self.against]}")
        reasons = {name: " ".join(str(error).split()) for name, error in refused.items()}
        plan = replace(plan, refused=reasons)
        return replace(plan, against=self.against or plan.accepted[0].name)

    def _config(self, task: str, budget: Budget, entrant: Entrant) -> CommonConfig:
        """The configuration of an entrant's first trial: its own settings win, as in its job."""
        own = {**_own_settings(task, self._seeds[0], budget), "method": entrant.method}
        flags = {**(self.flags or {}), **own}
        config = load_job_config(
            task, file=self.file, sets=[*_NO_LIMITS, *self.sets], flags=flags,
            layers=[parsed_item(item) for item in entrant.sets],
        )  # fmt: skip
        check_one_split(config)
        return _functions_alone(config)


def _functions_alone(config: CommonConfig) -> CommonConfig:
    """Without models that are searched on their own: every entrant would have the same."""
    if not isinstance(config, CFConfig):
        return config
    kept = tuple(stage for stage in config.search.stages if stage not in OWN_STAGES)
    return config.model_copy(update={"search": config.search.model_copy(update={"stages": kept})})


def check_one_split(config: CommonConfig) -> None:
    """Raises ConfigError for a job that would run several in turn."""
    if task_named(config.task).in_turn(config) is not None:
        raise ConfigError(
            "data.protocol: expected one split per trial, found several: set data.moment"
        )


_NO_LIMITS = ("budget=null", "search.seconds=null", "search.steps=null")
"""Limits that a file may have beside the epochs; a bench replaces them by its budget."""


def changes(asked: Plan, saved: Plan) -> list[str]:
    """The differences between a request and a saved bench, as 'budget: 30s or 60s'."""
    pairs = [
        ("methods", *(", ".join(_spelled(e) for e in p.entrants) for p in (asked, saved))),
        ("seeds", *(", ".join(map(str, p.seeds)) for p in (asked, saved))),
        ("budget", str(asked.budget), str(saved.budget)),
        ("against", asked.against, saved.against),
    ]
    found = [f"{what}: {ours} or {theirs}" for what, ours, theirs in pairs if ours != theirs]
    # What is named above is among the settings as well.
    return found or differences(asked.job, saved.job)


def _spelled(entrant: Entrant) -> str:
    return " ".join([entrant.name, entrant.method, *entrant.sets]) if entrant.sets else entrant.name


def _check_names(entrants: Sequence[Entrant], against: str | None) -> None:
    """Refuses names that nobody has, or two have."""
    if not entrants:
        raise ConfigError("methods: expected at least one, found none")
    for entrant in entrants:
        METHODS.named(entrant.method)
    names = [entrant.name for entrant in entrants]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"methods: expected different names, found {name!r} twice")
    if against is not None and against not in names:
        raise unknown("against", against, names)


def _check_sets(sets: Sequence[str]) -> None:
    """Refuses settings that a bench gives to its trials itself."""
    for item in sets:
        key = todays_name(item.split("=", 1)[0])
        if key in _OWN or key in BUDGETS:
            instead = "give a budget" if key in BUDGETS else "leave it out"
            raise ConfigError(f"settings: {item}: a bench sets {key} itself: {instead}")


def _own_settings(task: str, seed: int, budget: Budget) -> dict[str, Any]:
    """Settings that a bench chooses for all trials: one thread, the budget, no other models."""
    known = config_model(task).model_fields
    own: dict[str, Any] = {key: () for key in ("baselines", "controls") if key in known}
    if "validate_every_epoch" in getattr(known["search"].annotation, "model_fields", ()):
        own["search.validate_every_epoch"] = True  # for the curves; searches for cells always judge
    return {**own, "seed": seed, "threads": 1, **budget.settings()}
