"""The folder of a bench: its settings, the state of its trials, and who may work in it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import yaml

from sif.bench.plan import Budget, Entrant, Plan
from sif.bench.state import State
from sif.config import dump_config
from sif.config.files import read_yaml
from sif.errors import ConfigError, DataError
from sif.problems.configuration import load_job_config
from sif.utils.checkpoint import new_folder, read_json, write_json_atomic, write_text_atomic
from sif.utils.locks import locked

VERSION = 1
SETTINGS, JOB = "bench.yaml", "job.yaml"


class Named(Protocol):
    """A trial: one job among several."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        ...


@dataclass(frozen=True)
class TrialsFolder:
    """Paths and states of the trials of a bench or panel."""

    kind: ClassVar[str]
    """The name of what runs the trials."""
    path: Path

    def run(self, trial: Named) -> Path:
        """Run folder of a trial."""
        return self.path / "trials" / trial.name

    def log(self, trial: Named) -> Path:
        """The output of a trial's process."""
        return self.path / "trials" / f"{trial.name}.log"

    def state(self, trial: Named) -> State:
        """The progress of a trial."""
        path = self._state_file(trial)
        if not path.exists():
            return State("pending")
        found = read_json(path)
        try:
            return State(found["status"], found["reason"], found.get("peak_memory_mb"))
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(f"{path}: expected the state of a trial: {error!r}") from None

    def record(self, trial: Named, state: State) -> None:
        """Keeps how a trial ended."""
        write_json_atomic(self._state_file(trial), asdict(state))

    def _state_file(self, trial: Named) -> Path:
        return self.path / "trials" / f"{trial.name}.json"

    def check_free(self) -> None:
        """Raises ConfigError where there is something already."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise ConfigError(
                f"{self.path}: the folder exists; give another output_dir, or resume {self.path}"
            )

    def locked(self) -> AbstractContextManager[tuple[int, ...]]:
        """Keeps others out while it is held, by this process or by one that inherits the files.

        A trial outlives a killed parent; as long as it does, nobody else may go on with the folder.
        """
        reason = f"a {self.kind} or its trials are still at work there; wait, or end them"
        return locked(self.path, reason)


@dataclass(frozen=True)
class BenchFolder(TrialsFolder):
    """Paths and files of a bench."""

    kind: ClassVar[str] = "bench"

    @property
    def job(self) -> Path:
        """The settings that all trials share, as a configuration of a job."""
        return self.path / JOB

    def create(self, plan: Plan) -> None:
        """Makes the folder with its settings: all of it or nothing.

        Raises:
            ConfigError: It exists and is not empty.
        """
        self.check_free()
        with new_folder(self.path) as draft:
            write_text_atomic(draft / SETTINGS, yaml.safe_dump(_document(plan), sort_keys=False))
            write_text_atomic(draft / JOB, dump_config(plan.job))
            (draft / "trials").mkdir(exist_ok=True)

    def plan(self) -> Plan:
        """The plan that was saved.

        Raises:
            ConfigError: No bench, or one of another version of the format.
        """
        path = self.path / SETTINGS
        if not path.is_file():
            raise ConfigError(f"{self.path}: expected the folder of a bench, found no {SETTINGS}")
        saved = read_yaml(path, str(path))
        if saved.get("version") != VERSION:
            raise ConfigError(
                f"{path}: written in format version {saved.get('version')!r}, this sif reads "
                f"{VERSION}"
            )
        return _plan(saved, path, self.job)


def _document(plan: Plan) -> dict[str, Any]:
    return {
        "version": VERSION,
        "methods": [
            {"name": e.name, "method": e.method, "set": list(e.sets)} for e in plan.entrants
        ],
        "seeds": list(plan.seeds),
        "budget": str(plan.budget),
        "against": plan.against,
        "refused": dict(plan.refused),
    }


def _plan(saved: dict[str, Any], path: Path, job: Path) -> Plan:
    known = {"version", "methods", "seeds", "budget", "against", "refused"}
    if set(saved) != known:
        wrong = sorted(set(saved) ^ known)
        raise ConfigError(f"{path}: expected keys {', '.join(sorted(known))}; see {wrong[0]!r}")
    try:
        return Plan(
            tuple(Entrant(m["name"], m["method"], tuple(m["set"])) for m in saved["methods"]),
            tuple(int(seed) for seed in saved["seeds"]),
            Budget.parse(str(saved["budget"])),
            str(saved["against"]),
            load_job_config(None, file=job),
            dict(saved["refused"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: expected the settings of a bench: {error!r}") from None
