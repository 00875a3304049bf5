"""`sif panel`: its arguments as a panel, which begins, goes on, or is told again."""

from __future__ import annotations

import argparse

from sif.bench.panel import Panel
from sif.bench.panel.plan import PanelFolder
from sif.cli.arguments import SHARED_FLAGS, executor, given, program
from sif.cli.interruption import going_on
from sif.errors import ConfigError, FailedJobsError


def run(values: argparse.Namespace) -> None:
    """Runs `sif panel` with the parsed arguments.

    Raises:
        SifError: Bad input.
        FailedJobsError: Jobs failed; all is reported.
        KeyboardInterrupt: With how to go on.
    """
    if values.report is not None:
        report = Panel.open(values.report).report()
        print(report.text, *report.missing, report.folder / "report.md", sep="\n")
        return
    _check(values)
    where = executor(values)
    seeds = None
    if values.seeds is not None or values.seed is not None:
        first = values.seed or 0
        seeds = range(first, first + (1 if values.seeds is None else values.seeds))
    settings = {**given(values, SHARED_FLAGS), "budget": values.budget}
    panel = Panel.of(
        values.data, values.output_dir, seeds=seeds, file=values.config, sets=values.set,
        settings=settings,
    )  # fmt: skip
    again = f"{program('panel')} --output-dir {panel.folder}"
    place = PanelFolder(panel.folder)
    with going_on(lambda: f"go on with: {again}" if place.is_there else ""):
        report = panel.run(values.jobs, executor=where, quiet=values.quiet)
    if report.failed:
        raise FailedJobsError(
            f"{len(report.failed)} of {len(report.trials)} jobs failed: "
            f"{', '.join(report.failed)}; try them again with: {again}"
        )


def _check(values: argparse.Namespace) -> None:
    for name, number in (("seeds", values.seeds), ("jobs", values.jobs)):
        if number is not None and number < 1:
            raise ConfigError(f"{name}: expected at least 1, found {number}")
    if values.seed is not None and values.seed < 0:
        raise ConfigError(f"seed: expected 0 or more, found {values.seed}")
