"""`sif bench`: its arguments as a request, a resumed bench, or a report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from sif.bench.bench import Bench
from sif.bench.folder import BenchFolder
from sif.bench.plan import Entrant, Plan
from sif.bench.request import Request, changes
from sif.cli.arguments import check_resumed, executor, given, program
from sif.cli.interruption import going_on
from sif.errors import ConfigError, SifError

_SEEDS = 5


def run(values: argparse.Namespace) -> None:
    """Runs `sif bench` with the parsed arguments.

    Raises:
        SifError: Bad input, or trials that failed, once all is reported.
        KeyboardInterrupt: With how to go on.
    """
    if values.report is not None:
        report = Bench.open(values.report).report()
        print(report.text, *report.missing, report.folder / "report.md", sep="\n")
        return
    place = executor(values)
    bench = _resumed(values) if values.resume is not None else _new(values)
    again = f"{program('bench')} --resume {bench.folder}"
    job = BenchFolder(bench.folder).job
    with going_on(lambda: f"go on with: {again}" if job.is_file() else ""):
        report = bench.run(values.workers, executor=place, quiet=values.quiet)
    if report.failed:
        raise SifError(
            f"{len(report.failed)} of {len(report.results)} trials failed: "
            f"{', '.join(report.failed)}; try them again with: {again}"
        )


def _new(values: argparse.Namespace) -> Bench:
    if values.budget is None:
        raise ConfigError("budget: expected --budget, such as 30s or 500steps, found none")
    seeds = _SEEDS if values.seeds is None else values.seeds
    if seeds < 1:
        raise ConfigError(f"seeds: expected at least 1, found {seeds}")
    if values.workers is not None and values.workers < 1:
        raise ConfigError(f"workers: expected at least 1, found {values.workers}")
    first = values.seed or 0
    request = Request(
        values.task, _entrants(values), range(first, first + seeds), values.budget,
        values.against, values.config, values.set, given(values),
    )  # fmt: skip
    return Bench.of(request, values.output_dir)


def _entrants(values: argparse.Namespace) -> list[str | Entrant]:
    return [*values.methods, *map(Entrant.variant, values.variant)]


def _resumed(values: argparse.Namespace) -> Bench:
    """The interrupted bench; repeated options must agree with it."""
    folder: Path = values.resume
    options = {"uri": values.tracking_uri, "enabled": values.tracking}
    tracking = {key: value for key, value in options.items() if value is not None}
    bench = Bench.open(folder, tracking)
    check_resumed(folder, values.output_dir, ())
    changed = changes(_requested_plan(values, bench.plan, BenchFolder(folder)), bench.plan)
    check_resumed(folder, None, changed)
    return bench


def _requested_plan(values: argparse.Namespace, saved: Plan, folder: BenchFolder) -> Plan:
    """The saved plan, changed by the options that are given."""
    seeds: Sequence[int] = saved.seeds
    if values.seed is not None or values.seeds is not None:
        first = saved.seeds[0] if values.seed is None else values.seed
        count = len(saved.seeds) if values.seeds is None else values.seeds
        seeds = range(first, first + count)
    request = Request(
        values.task,
        _entrants(values) or saved.entrants,
        seeds,
        values.budget or str(saved.budget),
        values.against or saved.against,
        values.config or folder.job,
        values.set,
        given(values),
    )
    return request.plan()
