"""The plan of a panel and the folder that keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import yaml

from sif.bench.folder import TrialsFolder
from sif.bench.panel.entries import Entry
from sif.bench.panel.lists import Highest
from sif.config import CFConfig, differences, dump_config
from sif.config.files import read_yaml
from sif.config.messages import validated
from sif.errors import ConfigError
from sif.problems.configuration import load_job_config
from sif.utils.checkpoint import new_folder, write_text_atomic

VERSION = 1
SETTINGS = "panel.yaml"


@dataclass(frozen=True)
class PanelTrial:
    """One data set with one seed."""

    entry: Entry
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.entry.name}-{self.seed}"


@dataclass(frozen=True)
class PanelPlan:
    """A panel before anything has run.

    Attributes:
        entries: Data sets in the order of the table.
        seeds: Of the jobs; a seed also draws the split, where the protocol draws one.
    """

    entries: tuple[Entry, ...]
    seeds: tuple[int, ...]

    def trials(self) -> list[PanelTrial]:
        """Seed by seed, so that an unfinished panel has all data sets to compare."""
        return [PanelTrial(entry, seed) for seed in self.seeds for entry in self.entries]

    def extended(self, asked: PanelPlan) -> PanelPlan:
        """The plan with the data sets and seeds that are asked for beside its own.

        Raises:
            ConfigError: A data set would have other settings than it has here.
        """
        own = {entry.name: entry for entry in self.entries}
        for entry in asked.entries:
            known = own.get(entry.name)
            changed = [] if known is None else differences(entry.job, known.job)
            if changed:
                raise ConfigError(f"{entry.name}: {'; '.join(changed)}")
            # A metric and a known figure are of the table alone.
            own[entry.name] = entry if known is None else replace(entry, job=known.job)
        return PanelPlan(tuple(own.values()), tuple(dict.fromkeys((*self.seeds, *asked.seeds))))


@dataclass(frozen=True)
class PanelFolder(TrialsFolder):
    """Paths and files of a panel."""

    kind: ClassVar[str] = "panel"

    def job(self, entry: Entry) -> Path:
        """The settings that all jobs of a data set share."""
        return self.path / "jobs" / f"{entry.name}.yaml"

    @property
    def is_there(self) -> bool:
        """True if there is a panel."""
        return (self.path / SETTINGS).is_file()

    def create(self, plan: PanelPlan) -> None:
        """Makes the folder with its settings: all of it or nothing.

        Raises:
            ConfigError: It exists and is not empty.
        """
        self.check_free()
        with new_folder(self.path) as draft:
            (draft / "trials").mkdir(exist_ok=True)
            PanelFolder(draft).save(plan)

    def save(self, plan: PanelPlan) -> None:
        """Writes the settings; those of the panel last, since they name the others."""
        (self.path / "jobs").mkdir(exist_ok=True)
        for entry in plan.entries:
            write_text_atomic(self.job(entry), dump_config(entry.job))
        text = yaml.safe_dump(_document(plan), sort_keys=False, allow_unicode=True)
        write_text_atomic(self.path / SETTINGS, text)

    def plan(self) -> PanelPlan:
        """The plan that was saved.

        Raises:
            ConfigError: No panel, or one of another version of the format.
        """
        path = self.path / SETTINGS
        if not self.is_there:
            raise ConfigError(f"{self.path}: expected the folder of a panel, found no {SETTINGS}")
        saved = read_yaml(path, str(path))
        if saved.get("version") != VERSION:
            raise ConfigError(
                f"{path}: written in format version {saved.get('version')!r}, this sif reads "
                f"{VERSION}"
            )
        try:
            return PanelPlan(self._entries(saved["data"]), tuple(map(int, saved["seeds"])))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: expected the settings of a panel: {error!r}") from None

    def _entries(self, saved: Sequence[Mapping[str, Any]]) -> tuple[Entry, ...]:
        found = []
        for one in saved:
            known = one["highest"]
            highest = None if known is None else validated(Highest, known, ("highest",))
            name, metric = str(one["name"]), str(one["metric"])
            config = load_job_config(None, file=self.path / "jobs" / f"{name}.yaml")
            if not isinstance(config, CFConfig):
                raise ConfigError(f"{name}: expected a job of cf, found one of {config.task}")
            found.append(Entry(name, metric, highest, config))
        return tuple(found)


def _document(plan: PanelPlan) -> dict[str, Any]:
    return {
        "version": VERSION,
        "seeds": list(plan.seeds),
        "data": [
            {
                "name": one.name,
                "metric": one.metric,
                "highest": None if one.highest is None else one.highest.model_dump(),
            }
            for one in plan.entries
        ],
    }
