"""Jobs: the only place where configuration, data, spaces and loops are wired together."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from sif.checkpoint import write_json_atomic
from sif.config import CFConfig, CommonConfig, dump_config, load_config
from sif.data import Dataset, Split
from sif.errors import ConfigError
from sif.runtime import Runtime, deterministic, environment, make_runtime
from sif.tasks.cf import Job, RunResult, chosen_baselines, load_data
from sif.tasks.console import Console
from sif.tasks.figures import redraw
from sif.tasks.stages import Stages
from sif.tracking import open_tracker
from sif.tracking.base import Status

METHODS = ("nasp",)


def run(config: CommonConfig, *, resume: bool = False, quiet: bool = False) -> RunResult:
    """Runs the job that a configuration describes.

    Args:
        config: With `output_dir` set; the folder is made here, once the data could be read.
        resume: Go on in a folder where the same job was interrupted.
        quiet: Only results on the terminal.

    Returns:
        Where the results are and what they say.

    Raises:
        SifError: Anything that is wrong with the input, before the run folder is made.
    """
    config = _checked(config)
    folder = config.output_dir
    if folder is None:
        raise ConfigError("output_dir: expected a folder, found none")
    runtime = make_runtime(config.device, config.seed, config.threads)
    chosen_baselines(config)
    loaded = load_data(config)
    if not resume:
        _make_folder(folder, config)
    with _job(config, folder, runtime, quiet, loaded) as job, deterministic():
        return job.run()


def _checked(config: CommonConfig) -> CFConfig:
    if not isinstance(config, CFConfig):
        raise ConfigError(f"task: expected cf, found {config.task!r}")
    if config.method not in METHODS:
        raise ConfigError(f"method: expected one of {', '.join(METHODS)}, found {config.method!r}")
    return config


def _make_folder(folder: Path, config: CFConfig) -> None:
    """The run folder with its configuration: both or neither, even if killed in between."""
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: run folder exists; --resume it, or name another")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.draft")
    draft.mkdir(exist_ok=True)
    (draft / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    (draft / "checkpoint").mkdir(exist_ok=True)
    draft.replace(folder)


@contextlib.contextmanager
def _job(
    config: CFConfig,
    folder: Path,
    runtime: Runtime,
    quiet: bool,
    loaded: tuple[Dataset | None, Split],
) -> Iterator[Job]:
    stages = Stages(folder / "checkpoint", config.checkpoint_seconds)
    console = Console(folder / "log.txt", quiet)
    tracker = open_tracker(folder, config.tracking, folder.name, stages.tracker_state)
    stages.track(tracker)
    description = environment(runtime)
    dataset, split = loaded
    description["data_hash"] = dataset.hash if dataset else split.hash
    description["split_hash"] = split.hash
    write_json_atomic(folder / "environment.json", description)
    status: Status = "FAILED"
    try:
        yield Job(config, folder, runtime, console, tracker, stages, loaded)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.close(status)
        console.close()


def evaluate(folder: Path) -> None:
    """Prints the test metrics of a finished run's model, computed afresh from its saved model."""
    from sif.evaluate import evaluate as measure
    from sif.recommender import Recommender

    config = _checked(load_config(None, file=folder / "config.yaml"))
    _, split = load_data(config)
    model = Recommender.load(folder / "model")
    found = measure(model.scorer, split, "test", config.objective)
    print(json.dumps(found.metrics, indent=1))


def plot(folder: Path) -> list[Path]:
    """Draws a finished run's figures again from their saved data; returns their paths."""
    return redraw(folder / "plots")


__all__ = ["RunResult", "evaluate", "plot", "run"]
