"""Arguments of commands as values, and the options shared by commands that make jobs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sif.config import task_names
from sif.errors import ConfigError

if TYPE_CHECKING:
    from sif.bench.cluster import RayExecutor

Argument = Callable[[Any], object]
"""Adds an argument, or several mutually exclusive ones, to a parser."""


def argument(*names: str, **settings: Any) -> Argument:
    """One argument, see `argparse.ArgumentParser.add_argument`."""
    return lambda parser: parser.add_argument(*names, **settings)


def hidden(*arguments: Argument) -> Argument:
    """Arguments that the help does not show: it has to fit a screen."""

    def add(parser: argparse.ArgumentParser) -> None:
        for one in arguments:
            action: Any = one(parser)
            action.help = argparse.SUPPRESS

    return add


def either(*arguments: Argument) -> Argument:
    """One of some arguments."""

    def add(parser: argparse.ArgumentParser) -> None:
        group = parser.add_mutually_exclusive_group()
        for one in arguments:
            one(group)

    return add


SHARED_ARGUMENTS: tuple[Argument, ...] = (
    argument("--config", metavar="FILE|PRESET", help="settings in YAML, or e.g. cf/default"),
    argument("--set", metavar="K=V", nargs="+", action="extend", default=[],
             help="e.g. train.epochs=50"),
    argument("--device", help="auto, cpu or cuda (default: auto)"),
    argument("--data-dir", metavar="DIR", help="folder of data files and downloads"),
    either(
        argument("--tracking-uri", metavar="URI", help="MLflow store"),
        argument("--no-tracking", dest="tracking", action="store_const", const=False,
                 help="no MLflow"),
    ),
)  # fmt: skip
"""Options of every command that makes jobs, whatever their data."""
JOB_ARGUMENTS: tuple[Argument, ...] = (
    # Asked for when there is a parser: other packages may have registered theirs by then.
    lambda parser: parser.add_argument("--task", metavar="TASK", help=", ".join(task_names())),
    argument(
        "--dataset",
        metavar="NAME|FILE",
        help="known name, CSV, Parquet, .inter, or postgresql://...",
    ),
    argument("--split-file", metavar="FILE", help="a split made elsewhere (.npz or folder)"),
    *SHARED_ARGUMENTS,
)
"""Options of commands that make jobs of one task and one data set."""
SHARED_FLAGS = {
    "device": "device",
    "data_dir": "data.dir",
    "tracking_uri": "tracking.uri",
    "tracking": "tracking.enabled",
}
"""Name of an argument to the key of a configuration."""
JOB_FLAGS = {"dataset": "dataset", "split_file": "data.split_file", **SHARED_FLAGS}
"""The same of commands that make jobs of one task and one data set."""


PLACE_ARGUMENTS: tuple[Argument, ...] = (
    argument("--ray-address", metavar="HOST:PORT",
             help="a running cluster, or auto (default: RAY_ADDRESS, else Ray on this machine)"),
    argument("--memory", metavar="SIZE", help="that Ray reserves for each of them: 4GB, 512MiB"),
    argument("--gpus", type=float, metavar="N", help="that Ray reserves for each of them: 1, 0.25"),
)  # fmt: skip
"""Options that say where tasks of Ray run, and what is reserved for each."""
EXECUTOR_ARGUMENTS: tuple[Argument, ...] = (
    argument("--executor", choices=("local", "ray"),
             help="processes of this machine, or tasks of Ray (default: local)"),
    *PLACE_ARGUMENTS,
)  # fmt: skip
"""Options of commands that run several jobs."""


def executor(values: argparse.Namespace) -> RayExecutor | None:
    """The executor that was asked for; None: the one of this machine.

    Raises:
        ConfigError: Options of Ray without it, or Ray is missing.
    """
    given = {name: getattr(values, name) for name in ("ray_address", "memory", "gpus")}
    if values.executor == "ray":
        from sif.bench.cluster import RayExecutor

        return RayExecutor(values.ray_address, values.memory, values.gpus)
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"{name}: expected it with --executor ray, found {value} without")
    return None


def given(values: argparse.Namespace, flags: Mapping[str, str] = JOB_FLAGS) -> dict[str, Any]:
    """Settings that were given as arguments, by their keys; None: not given."""
    return {key: getattr(values, name) for name, key in flags.items()}


def check_resumed(folder: Path, output_dir: Path | None, changed: Sequence[str]) -> None:
    """Raises ConfigError unless repeated options agree with the resumed folder."""
    if output_dir is not None and output_dir.resolve() != folder.resolve():
        raise ConfigError(f"--output-dir {output_dir} contradicts --resume {folder}")
    if changed:
        raise ConfigError(f"{folder}: cannot be resumed with other settings ({'; '.join(changed)})")


def program(verb: str) -> str:
    """A command as it was called, for hints."""
    if Path(sys.argv[0]).name != "run.py":
        return f"sif {verb}"
    return "python run.py" if verb == "run" else f"python run.py {verb}"
