"""A bench from the request to the report: the library behind `sif bench`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from sif.bench import figures, results
from sif.bench import mlflow_summary as recording
from sif.bench.executor import Executor, LocalExecutor
from sif.bench.folder import BenchFolder
from sif.bench.plan import Plan, Trial
from sif.bench.report import Comparison, compare, markdown, missing, terminal
from sif.bench.request import Request
from sif.bench.sitting import Nesting, Sitting
from sif.bench.state import State
from sif.config import new_run_folder
from sif.errors import ConfigError
from sif.tasks.console import Console
from sif.tasks.figures import save_and_draw
from sif.utils.argument_types import checks_types
from sif.utils.checkpoint import write_text_atomic
from sif.utils.registry import unknown


@dataclass(frozen=True, eq=False)
class BenchResult:
    """The results of a bench.

    Attributes:
        folder: Folder of the plan, the trials and the report.
        results: One row per trial, see `sif.bench.results.gather`.
        curves: One row per judged point of a search.
        comparison: The table in numbers.
        text: The table for a terminal.
        missing: One line per failed trial or refused method, and for what has not run.

    Examples:
        >>> found = bench.run(workers=2)  # doctest: +SKIP
        >>> found.results[["method", "seed", "test.ndcg@10"]]  # doctest: +SKIP
    """

    folder: Path
    results: pd.DataFrame
    curves: pd.DataFrame
    comparison: Comparison
    text: str
    missing: list[str]

    def __repr__(self) -> str:
        return "\n".join([self.text, *self.missing, f"BenchResult in {self.folder}"])

    @property
    def failed(self) -> list[str]:
        """Names of the trials that failed."""
        rows = self.results[self.results["status"] == "failed"]
        return [f"{row.method}-{row.seed}" for row in rows.itertuples()]


@dataclass(frozen=True, eq=False)
class Bench:
    """Search methods and seeds under an equal budget.

    Attributes:
        folder: The folder of the bench; `run` makes it.
        plan: Methods, seeds and budget of the comparison.

    Examples:
        >>> bench = sif.Bench.of(
        ...     task="cf", methods=["nasp", "random"], seeds=[0, 1], budget="500steps",
        ...     settings={"data.planted": {"users": 40, "items": 30}},
        ... )
        >>> [trial.name for trial in bench.plan.trials()]
        ['nasp-0', 'random-0', 'nasp-1', 'random-1']
        >>> result = bench.run()  # doctest: +SKIP
    """

    folder: Path
    plan: Plan

    @classmethod
    @checks_types
    def of(
        cls, request: Request | None = None, folder: str | Path | None = None,
        *, settings: Mapping[str, Any] | None = None, **asked: Any,
    ) -> Bench:  # fmt: skip
        """Plans a bench; reads the data once per method, and writes nothing.

        Args:
            request: The request; None: made of the further arguments.
            folder: None: a new one in benches/.
            settings: Settings of all trials, nested or by dotted names.
            asked: The other attributes of a `Request`.

        Raises:
            SifError: Anything that is wrong, in one line.
        """
        known = [field.name for field in fields(Request)]
        for name in asked:
            if name not in known:
                raise unknown("argument", name, [*known, "folder", "settings"])
        request = request or Request(**asked, flags=settings)
        if folder is not None:
            BenchFolder(Path(folder)).check_free()
        plan = request.checked()
        if folder is None:
            folder = Path("benches") / new_run_folder(plan.job, datetime.now()).name
        return cls(Path(folder), plan)

    @classmethod
    @checks_types
    def open(cls, folder: str | Path, tracking: Mapping[str, Any] | None = None) -> Bench:
        """The bench that a folder holds.

        Args:
            folder: The folder of a bench.
            tracking: Changed settings of `TrackingConfig`.

        Raises:
            ConfigError: No bench, or of another version.
        """
        folder = Path(folder)
        plan = BenchFolder(folder).plan()
        changed = plan.job.tracking.model_copy(update=dict(tracking or {}))
        job = plan.job.model_copy(update={"tracking": changed})
        return cls(folder, replace(plan, job=job))

    def __repr__(self) -> str:
        names = ", ".join(entrant.name for entrant in self.plan.entrants)
        return (
            f"Bench({str(self.folder)!r}: {names}; {len(self.plan.seeds)} seeds, "
            f"{self.plan.budget} each)"
        )

    @checks_types
    def run(
        self, workers: int | None = None, *, executor: Executor | None = None, quiet: bool = False
    ) -> BenchResult:
        """Runs what is left to run, then reports.

        Args:
            workers: Trials at a time; None: one per core, on a cluster as many as it has place for.
            executor: Where they run; None: in processes of this machine.
            quiet: Only the report on the terminal.

        Raises:
            ConfigError: The folder is in use, or another's, or the executor cannot run anything.
            KeyboardInterrupt: The trials have been stopped; a later run continues.
        """
        if workers is not None and workers < 1:
            raise ConfigError(f"workers: expected at least 1, found {workers}")
        executor = executor or LocalExecutor()
        executor.check()
        place = BenchFolder(self.folder)
        if not (self.folder / "bench.yaml").is_file():
            place.create(self.plan)
        with (
            place.locked() as inherited,
            closing(Console(self.folder / "log.txt", quiet)) as console,
            recording.summary_of_bench(self.folder, self.plan) as summary,
        ):
            self._run(place, executor, workers, console, inherited, summary.run_id)
            found = self.report()
            recording.record_bench(summary, found.results, found.comparison)
            console.result(found.text)
            for line in found.missing:
                console.result(line)
            console.line(f"everything is in {self.folder}")
        return found

    def _run(
        self, place: BenchFolder, executor: Executor, workers: int | None, console: Console,
        inherited: Sequence[int], parent: str | None,
    ) -> None:  # fmt: skip
        for name, reason in self.plan.refused.items():
            console.line(f"refused: {name}: {reason}")
        sitting = self._sitting(place, parent)
        done = len(sitting.trials) - len(sitting.left)
        console.line(
            f"{len(self.plan.accepted)} method(s) x {len(self.plan.seeds)} seed(s), "
            f"{self.plan.budget} each" + (f"; {done} trials finished before" if done else "")
        )
        sitting.run(console, "bench", executor, workers, inherited)

    def _sitting(self, place: BenchFolder, parent: str | None) -> Sitting[Trial]:
        nesting = Nesting(self.plan.job.tracking, self.experiment, parent)
        needs = nesting.needs(self.plan.job, place.job)
        return Sitting(
            place, self.plan.trials(),
            partial(_command, place, nesting, Path(self.plan.job.dataset).stem),
            partial(_outcome, place), lambda trial: needs,
        )  # fmt: skip

    @property
    def experiment(self) -> str:
        """The MLflow experiment: the one that was asked for, or one named after the folder."""
        return recording.experiment_of(self.folder, self.plan.job.tracking)

    def report(self) -> BenchResult:
        """Gathers what has finished; writes tables, report and figures.

        Raises:
            SifError: Results cannot be read, or files not be written.
        """
        plan = self.plan
        table, curves = results.gather(BenchFolder(self.folder), plan)
        for name, content in ((results.RESULTS, table), (results.CURVES, curves)):
            results.write(content, self.folder, name)
        found = compare(table, plan)
        told = missing(table)
        data = figures.figure_data(found, table, curves, plan)
        try:
            drawn = save_and_draw(self.folder / "plots", data, figures.draw)
        except ConfigError as error:  # no matplotlib; the data are saved
            drawn, told = [], [*told, f"left out: {error}"]
        text = markdown(found, table, plan, [path.name for path in drawn])
        write_text_atomic(self.folder / "report.md", text)
        return BenchResult(self.folder, table, curves, found, terminal(found), told)


def _command(place: BenchFolder, nesting: Nesting, data: str, trial: Trial) -> list[str]:
    """Begins a trial's job, or goes on with it."""
    entrant = trial.entrant
    begin = ["--config", str(place.job), "--method", entrant.method, "--seed", str(trial.seed)]
    name = f"{data} · {entrant.name} · seed {trial.seed}"
    return nesting.command(place.run(trial), begin, entrant.sets, name)


def _outcome(place: BenchFolder, trial: Trial, state: State) -> str:
    """The end of a trial that has finished, on one line."""
    row = results.result_of(place.run(trial))
    metric = row["metric"]
    return (
        f"test {metric} {row[f'test.{metric}']:.4f}, valid {row[f'valid.{metric}']:.4f}; search "
        f"{row['search_seconds']:.1f} s, {row['total_seconds']:.1f} s in all"
    )
