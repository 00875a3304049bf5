"""A panel from the list of data sets to the report: the library behind `sif panel`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from sif.bench import mlflow_summary as recording
from sif.bench.executor import Executor, LocalExecutor
from sif.bench.panel import figures, results, table
from sif.bench.panel.entries import Settings, entries
from sif.bench.panel.lists import listed
from sif.bench.panel.plan import PanelFolder, PanelPlan, PanelTrial
from sif.bench.panel.ranks import FEWEST, Ranking, rank
from sif.bench.panel.results import Line
from sif.bench.sitting import Nesting, Sitting
from sif.bench.state import State
from sif.config import TrackingConfig
from sif.config.loading import dotted
from sif.errors import CheckpointError, ConfigError
from sif.evaluation.comparison import counted
from sif.tasks.console import Console
from sif.tasks.figures import save_and_draw
from sif.utils.argument_types import checks_types
from sif.utils.checkpoint import write_bytes_atomic, write_text_atomic

_FILES = ("report.md", "panel.csv", "trials.csv", "panel.yaml")
_TRACKING = {"tracking.uri": "uri", "tracking.enabled": "enabled"}
"""Settings that may change when a panel goes on."""


@dataclass(frozen=True, eq=False)
class PanelResult:
    """The results of a panel.

    Attributes:
        folder: Folder of the list, the jobs and the report.
        table: One row per data set, see `sif.bench.panel.table.frame`.
        trials: One row per job, see `sif.bench.panel.results.gather`.
        ranking: Models over data sets.
        lines: The table as values.
        text: The table for a terminal.
        missing: One line per data set that has not finished, and for figures that could not be
            drawn.

    Examples:
        >>> found = panel.run()  # doctest: +SKIP
        >>> found.table[["data", "served", "served_value"]]  # doctest: +SKIP
    """

    folder: Path
    table: pd.DataFrame
    trials: pd.DataFrame
    ranking: Ranking
    lines: Sequence[Line]
    text: str
    missing: list[str]

    def __repr__(self) -> str:
        return "\n".join([self.text, *self.missing, f"PanelResult in {self.folder}"])

    @property
    def failed(self) -> list[str]:
        """Names of the jobs that failed."""
        rows = self.trials[self.trials["status"] == "failed"]
        return [f"{row.data}-{row.seed}" for row in rows.itertuples()]


@dataclass(frozen=True, eq=False)
class Panel:
    """The default job over data sets and seeds.

    Attributes:
        folder: The folder of the panel; `run` makes it.
        plan: Data sets and seeds.
        tracking: Settings of MLflow, in which the panel is recorded.

    Examples:
        >>> from sif.bench.panel import Panel
        >>> orders.to_csv("orders.csv", index=False)
        >>> panel = Panel.of(["orders.csv", "planted"], "panels/both", seeds=2)
        >>> [trial.name for trial in panel.plan.trials()]
        ['orders-0', 'planted-0', 'orders-1', 'planted-1']
        >>> result = panel.run()  # doctest: +SKIP
    """

    folder: Path
    plan: PanelPlan
    tracking: TrackingConfig

    @classmethod
    @checks_types
    def of(
        cls, data: Sequence[str | Path] = (), folder: str | Path | None = None, *,
        seeds: Sequence[int] | int | None = None, file: str | Path | None = None,
        sets: Sequence[str] = (), settings: Mapping[str, Any] | None = None,
    ) -> Panel:  # fmt: skip
        """Plans a panel, or goes on with the one in a folder; reads no data and writes nothing.

        A panel only grows: data sets and seeds that the folder has stay, and others join them.

        Args:
            data: Names of known data sets, files, and lists of them in YAML; none: those that the
                folder has.
            folder: None: a new one in panels/.
            seeds: Seeds of the jobs, or their number; None: those that the folder has, or one.
            file: YAML file or preset of all jobs.
            sets: "key=value" of all jobs.
            settings: Settings of all jobs, nested or by dotted names.

        Raises:
            ConfigError: A file that is nowhere, an unknown metric, two data sets of one name, an
                empty list, or other settings than the folder has, in one line.
        """
        given, asked = Settings(file, sets, settings), _seeds(seeds)
        place = PanelFolder(_new_folder() if folder is None else Path(folder))
        saved = place.plan() if place.is_there else None
        if saved is None:
            place.check_free()
        if not data and saved is not None:
            _check_unchanged(place, file, sets, settings)
            plan = PanelPlan(saved.entries, tuple(dict.fromkeys((*saved.seeds, *asked))))
            return cls(place.path, plan, _tracking(saved, settings))
        plan = PanelPlan(entries(listed(data), given), asked or ((0,) if saved is None else ()))
        tracking = plan.entries[0].job.tracking
        if saved is not None:
            try:
                plan = saved.extended(plan)
            except ConfigError as error:
                told = f"{folder}: cannot go on with other settings ({error})"
                raise ConfigError(f"{told}; give another output_dir") from None
        return cls(place.path, plan, tracking)

    @classmethod
    @checks_types
    def open(cls, folder: str | Path) -> Panel:
        """The panel that a folder holds.

        Args:
            folder: The folder of a panel.

        Raises:
            ConfigError: No panel, or of another version.
        """
        plan = PanelFolder(Path(folder)).plan()
        return cls(Path(folder), plan, plan.entries[0].job.tracking)

    def __repr__(self) -> str:
        names = ", ".join(entry.name for entry in self.plan.entries)
        return f"Panel({str(self.folder)!r}: {names}; {counted(len(self.plan.seeds), 'seeds')})"

    @checks_types
    def run(
        self, jobs: int | None = None, *, executor: Executor | None = None, quiet: bool = False
    ) -> PanelResult:
        """Runs what is left to run, then reports.

        Args:
            jobs: At a time; None: 1, on a cluster as many as it has place for. One process of this
                machine has as many threads as it takes by itself, several share the cores; a job
                on a cluster has the setting `threads`, by default 1.
            executor: Where they run; None: in processes of this machine.
            quiet: Only the report on the terminal.

        Raises:
            ConfigError: The folder is in use, or another's, or the executor cannot run anything.
            KeyboardInterrupt: The jobs have been stopped; a later run continues.
        """
        if jobs is not None and jobs < 1:
            raise ConfigError(f"jobs: expected at least 1, found {jobs}")
        if executor is None:
            executor, jobs = LocalExecutor(), jobs or 1
        executor.check()
        place = PanelFolder(self.folder)
        if not place.is_there:
            place.create(self.plan)
        with (
            place.locked() as inherited,
            closing(Console(self.folder / "log.txt", quiet)) as console,
            recording.summary(self.folder, self.tracking, self._params(), "panel") as summary,
        ):
            place.save(self.plan)
            self._sit(place, executor, jobs, console, inherited, summary.run_id)
            found = self.report()
            finished = int((found.trials["status"] == "finished").sum())
            summary.record(_values(found.lines), finished, _FILES)
            console.result(found.text)
            for line in found.missing:
                console.result(line)
            console.line(f"everything is in {self.folder}")
        return found

    def _sit(
        self, place: PanelFolder, executor: Executor, jobs: int | None, console: Console,
        inherited: Sequence[int], parent: str | None,
    ) -> None:  # fmt: skip
        threads = executor.threads(jobs)
        experiment = recording.experiment_of(self.folder, self.tracking)
        nesting = Nesting(self.tracking, experiment, parent)
        sitting = Sitting(
            place, self.plan.trials(), partial(_command, place, nesting, threads),
            partial(_outcome, place),
            lambda trial: nesting.needs(trial.entry.job, place.job(trial.entry)),
        )  # fmt: skip
        waiting = [one.name for one in sitting.left]
        done = [one.name for one in sitting.trials if one.name not in waiting]
        console.line(
            f"{len(self.plan.entries)} data set(s) x "
            f"{counted(len(self.plan.seeds), 'seeds')}"
            + (f"; finished before: {', '.join(done)}" if done else "")
        )
        sitting.run(console, "panel", executor, jobs, inherited, threads)

    def _params(self) -> dict[str, str]:
        return {
            "data": ", ".join(entry.name for entry in self.plan.entries),
            "seeds": ", ".join(map(str, self.plan.seeds)),
        }

    def report(self) -> PanelResult:
        """Gathers what has finished; writes table, report and figure.

        Raises:
            SifError: Results cannot be read, or files not be written.
        """
        place, plan = PanelFolder(self.folder), self.plan
        trials = results.gather(place, plan)
        found = results.lines(trials, plan)
        whole = table.frame(found)
        for name, content in (("panel", whole), ("trials", trials)):
            text = content.to_csv(index=False)
            write_bytes_atomic(self.folder / f"{name}.csv", text.encode())
        ranking = _ranked(place, trials, plan)
        told = table.missing(found)
        try:
            drawn = save_and_draw(self.folder / "plots", figures.figure_data(ranking), figures.draw)
        except ConfigError as error:  # no matplotlib; the data are saved
            drawn, told = [], [*told, f"left out: {error}"]
        report = table.markdown(found, ranking, [path.name for path in drawn])
        write_text_atomic(self.folder / "report.md", report)
        text = table.terminal(found, ranking)
        return PanelResult(self.folder, whole, trials, ranking, found, text, told)


def _seeds(asked: Sequence[int] | int | None) -> tuple[int, ...]:
    """The seeds that are asked for; none where none are."""
    if asked is None:
        return ()
    found = tuple(range(asked) if isinstance(asked, int) else asked)
    if not found or len(set(found)) < len(found) or min(found) < 0:
        told = ", ".join(map(str, found)) or "none"
        raise ConfigError(f"seeds: expected at least one, all different, found {told}")
    return found


def _tracking(saved: PanelPlan, settings: Mapping[str, Any] | None) -> TrackingConfig:
    """That of the folder, with what is asked for now."""
    asked = {k: v for k, v in dotted(settings or {}).items() if v is not None}
    changed = {name: asked[key] for key, name in _TRACKING.items() if key in asked}
    return saved.entries[0].job.tracking.model_copy(update=changed)


def _check_unchanged(
    place: PanelFolder, file: str | Path | None, sets: Sequence[str],
    settings: Mapping[str, Any] | None,
) -> None:  # fmt: skip
    """Refuses settings without the data sets that they are of."""
    asked = [key for key, value in dotted(settings or {}).items() if value is not None]
    others = [*(key for key in asked if key not in _TRACKING), *sets]
    if file is not None or others:
        told = others[0] if others else file
        raise ConfigError(
            f"{place.path}: goes on with the settings that it began with, found {told}; name data "
            "sets to compare them"
        )


def _new_folder() -> Path:
    name = f"panel-{datetime.now():%Y%m%d-%H%M%S}"
    folder, count = Path("panels") / name, 1
    while folder.exists():
        count += 1
        folder = Path("panels") / f"{name}-{count}"
    return folder


def _command(
    place: PanelFolder, nesting: Nesting, threads: int | None, trial: PanelTrial
) -> list[str]:
    """Begins a job, or goes on with it."""
    begin = ["--config", str(place.job(trial.entry)), "--seed", str(trial.seed)]
    own = trial.entry.job.threads is not None or threads is None
    name = f"{trial.entry.name} · {trial.entry.job.method} · seed {trial.seed}"
    return nesting.command(place.run(trial), begin, [] if own else [f"threads={threads}"], name)


def _outcome(place: PanelFolder, trial: PanelTrial, _: State) -> str:
    """The end of a job that has finished, on one line."""
    metric = trial.entry.metric
    row = results.result_of(place.run(trial), metric)
    return (
        f"test {metric} {row['served_value']:.4f} of {row['served']}, served, "
        f"{row['searched_value']:.4f} of {row['searched']}, searched; {row['seconds']:.1f} s"
    )


def _values(lines: Sequence[Line]) -> dict[str, float]:
    """The table as numbers with names."""
    return {
        f"{line.entry.name}.{name}": found.mean
        for line in lines
        for name, found in {
            f"served.{line.entry.metric}": line.served_value,
            f"searched.{line.entry.metric}": line.searched_value,
            f"baseline.{line.entry.metric}": line.baseline_value,
            "seconds": line.seconds,
        }.items()
    }


def _ranked(place: PanelFolder, trials: pd.DataFrame, plan: PanelPlan) -> Ranking:
    """Models over the data sets that have finished jobs."""
    runs = results.finished_runs(place, trials, plan)
    merits = results.merits(runs, plan)
    users = {}
    if len(merits) < FEWEST:
        try:
            users = results.user_sums(runs, list(merits.columns), plan)
        except CheckpointError:  # somebody removed them; the table needs none
            users = {}
    return rank(merits, users)
