"""Jobs: the only place where configuration, data, spaces and loops are wired together."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from sif.checkpoint import write_json_atomic, write_text_atomic
from sif.config import CFConfig, CommonConfig, did_you_mean, dump_config, load_config
from sif.errors import ConfigError, DataError
from sif.runtime import Runtime, deterministic, environment, make_runtime
from sif.tasks.cf import Job, RunResult
from sif.tasks.console import Console
from sif.tasks.figures import redraw
from sif.tasks.inputs import Inputs, load_data, prepare
from sif.tasks.stages import Stages
from sif.tracking import check_installed, open_tracker
from sif.tracking.base import Status

METHODS = ("nasp",)


def run(config: CommonConfig, *, resume: bool = False, quiet: bool = False) -> RunResult:
    """Runs the job that a configuration describes.

    Args:
        config: With `output_dir` set; the folder is made here, once the inputs have been checked.
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
    # A rerun or a resume elsewhere must not fall back on another machine's thread count.
    config = config.model_copy(update={"threads": runtime.threads, "device": str(runtime.device)})
    inputs = prepare(config, runtime)
    check_installed(config.tracking)
    if not resume:
        _make_folder(folder, config)
    with _job(config, folder, runtime, quiet, inputs) as job, deterministic():
        return job.run()


def _checked(config: CommonConfig) -> CFConfig:
    if not isinstance(config, CFConfig):
        raise ConfigError(f"task: expected cf, found {config.task!r}")
    if config.method not in METHODS:
        raise ConfigError(
            f"method: expected one of {', '.join(METHODS)}, found {config.method!r}"
            f"{did_you_mean(config.method, METHODS)}"
        )
    return config


def _make_folder(folder: Path, config: CFConfig) -> None:
    """The run folder with its configuration: both or neither, even if killed in between."""
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: run folder exists; --resume it, or name another")
    draft = folder.with_name(f".{folder.name}.draft")
    try:
        write_text_atomic(draft / "config.yaml", dump_config(config))
        (draft / "checkpoint").mkdir(exist_ok=True)
        draft.replace(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


@contextlib.contextmanager
def _job(
    config: CFConfig, folder: Path, runtime: Runtime, quiet: bool, inputs: Inputs
) -> Iterator[Job]:
    stages = Stages(folder / "checkpoint", config.checkpoint_seconds)
    begun = stages.read("begin")
    if begun is not None and begun["split_hash"] != inputs.split.hash:
        raise DataError(
            f"{folder}: cannot be resumed with other data: expected split {begun['split_hash']}, "
            f"found {inputs.split.hash}"
        )
    hashes = {"data_hash": inputs.data_hash, "split_hash": inputs.split.hash}
    write_json_atomic(folder / "environment.json", environment(runtime) | hashes)
    with contextlib.closing(Console(folder / "log.txt", quiet)) as console:
        tracker = open_tracker(folder, config.tracking, folder.name, stages.tracker_state)
        status: Status = "FAILED"
        try:
            stages.track(tracker)
            # Saved at once, so that however early the job is killed it goes on in the same run.
            stages.run("begin", lambda _: hashes)
            yield Job(config, folder, runtime, console, tracker, stages, inputs)
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            tracker.close(status)


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
