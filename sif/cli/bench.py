"""`sif bench`: its arguments as a request, a resumed bench, or a report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sif.bench.bench import Bench, BenchResult
from sif.bench.folder import BenchFolder
from sif.bench.plan import Entrant, Plan
from sif.bench.request import Request, changes
from sif.errors import ConfigError, SifError

_FLAGS = {
    "dataset": "dataset",
    "split_file": "data.split_file",
    "device": "device",
    "data_dir": "data.dir",
}
_SEEDS = 5


def run(values: argparse.Namespace) -> None:
    """Does what the arguments of `sif bench` say.

    Raises:
        SifError: Bad input, or trials that failed, once all is reported.
        KeyboardInterrupt: With how to go on.
    """
    if values.report is not None:
        print_report(Bench.open(values.report).report())
        return
    bench = _resumed(values) if values.resume is not None else _new(values)
    try:
        found = bench.run(values.workers, quiet=values.quiet)
    except KeyboardInterrupt:
        if BenchFolder(bench.folder).job.is_file():
            raise KeyboardInterrupt(f"go on with: {_program()} --resume {bench.folder}") from None
        raise
    if found.failed:
        raise SifError(
            f"{len(found.failed)} of {len(found.results)} trials failed: "
            f"{', '.join(found.failed)}; try them again with: {_program()} --resume {bench.folder}"
        )


def print_report(found: BenchResult) -> None:
    """The table, and what is missing in it."""
    print(found.text, *found.missing, found.folder / "report.md", sep="\n")


def _program() -> str:
    return "python run.py bench" if Path(sys.argv[0]).name == "run.py" else "sif bench"


def _tracking(values: argparse.Namespace) -> dict[str, Any]:
    asked = {"uri": values.tracking_uri, "enabled": values.tracking}
    return {key: value for key, value in asked.items() if value is not None}


def _new(values: argparse.Namespace) -> Bench:
    if values.budget is None:
        raise ConfigError("budget: expected --budget, such as 30s or 500steps, found none")
    seeds = _SEEDS if values.seeds is None else values.seeds
    if seeds < 1:
        raise ConfigError(f"seeds: expected at least 1, found {seeds}")
    if values.workers is not None and values.workers < 1:
        raise ConfigError(f"workers: expected at least 1, found {values.workers}")
    first = values.seed or 0
    flags = {key: getattr(values, name) for name, key in _FLAGS.items()}
    flags |= {f"tracking.{key}": value for key, value in _tracking(values).items()}
    request = Request(
        values.task, _entrants(values), range(first, first + seeds), values.budget,
        values.against, values.config, values.set, flags,
    )  # fmt: skip
    return Bench.of(request, values.output_dir)


def _entrants(values: argparse.Namespace) -> list[str | Entrant]:
    return [*values.methods, *map(Entrant.variant, values.variant)]


def _resumed(values: argparse.Namespace) -> Bench:
    """The interrupted bench; repeated options must agree with it."""
    folder: Path = values.resume
    bench = Bench.open(folder, _tracking(values))
    if values.output_dir is not None and values.output_dir.resolve() != folder.resolve():
        raise ConfigError(f"--output-dir {values.output_dir} contradicts --resume {folder}")
    changed = changes(_asked(values, bench.plan, BenchFolder(folder)), bench.plan)
    if changed:
        raise ConfigError(f"{folder}: cannot be resumed with other settings ({'; '.join(changed)})")
    return bench


def _asked(values: argparse.Namespace, saved: Plan, folder: BenchFolder) -> Plan:
    """What the options ask for, the saved plan where they say nothing."""
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
        {key: getattr(values, name) for name, key in _FLAGS.items()},
    )
    return request.plan()
