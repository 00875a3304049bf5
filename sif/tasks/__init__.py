"""Jobs: the only place where configuration, data, spaces and loops are wired together."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from sif.config import CommonConfig, dump_config, load_config
from sif.errors import ConfigError, DataError
from sif.methods.configuration import resolved
from sif.methods.registry import method_named
from sif.tasks.base import Inputs, JobContext, RunResult, Task
from sif.tasks.cf import figures as cf_figures
from sif.tasks.cf import inputs as cf_inputs
from sif.tasks.cf import job as cf_job
from sif.tasks.checkpoint import StageFolder
from sif.tasks.cnn import figures as cnn_figures
from sif.tasks.cnn import inputs as cnn_inputs
from sif.tasks.cnn import job as cnn_job
from sif.tasks.console import Console
from sif.tasks.figure_files import draw_again
from sif.tasks.history import search_history
from sif.tasks.rnn import figures as rnn_figures
from sif.tasks.rnn import inputs as rnn_inputs
from sif.tasks.rnn import job as rnn_job
from sif.tracking import check_installed, open_tracker
from sif.tracking.base import Status
from sif.utils.checkpoint import write_json_atomic, write_text_atomic
from sif.utils.device import Runtime, deterministic, make_runtime, torch_threads
from sif.utils.environment import environment

TASKS = {
    "cf": Task(cf_inputs.prepare, cf_job.CFJob, cf_job.evaluate_again, cf_figures.draw),
    "cnn": Task(cnn_inputs.prepare, cnn_job.job, cnn_job.evaluate_again, cnn_figures.draw),
    "rnn": Task(rnn_inputs.prepare, rnn_job.job, rnn_job.evaluate_again, rnn_figures.draw),
}


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
    task, config = _checked_task(config)
    folder = config.output_dir
    if folder is None:
        raise ConfigError("output_dir: expected a folder, found none")
    runtime = make_runtime(config.device, config.seed, config.threads)
    # A rerun or a resume elsewhere must not fall back on another machine's thread count.
    config = config.model_copy(update={"threads": runtime.threads, "device": str(runtime.device)})
    found = task.prepare(config, runtime)
    check_installed(config.tracking)
    if not resume:
        _make_folder(folder, config)
    with _context(config, folder, runtime, quiet, found) as context, deterministic():
        return task.job(config, found, context).run()


def check(config: CommonConfig) -> None:
    """Reads the data and refuses what `run` would refuse; writes nothing.

    Raises:
        SifError: Anything that is wrong with the input.
    """
    task, config = _checked_task(config)
    with torch_threads(config.threads):  # the caller goes on with its own number
        task.prepare(config, make_runtime(config.device, config.seed, config.threads))
    check_installed(config.tracking)


def _checked_task(config: CommonConfig) -> tuple[Task, CommonConfig]:
    check_method(config.method)
    return TASKS[config.task], resolved(config)


def check_method(method: str) -> None:
    """Raises ConfigError for a search method that nobody has; every task takes all of them."""
    method_named(method)


def _make_folder(folder: Path, config: CommonConfig) -> None:
    """The run folder with its configuration: both or neither, even if killed in between."""
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: run folder exists; resume it, or name another")
    draft = folder.with_name(f".{folder.name}.draft")
    try:
        write_text_atomic(draft / "config.yaml", dump_config(config))
        (draft / "checkpoint").mkdir(exist_ok=True)
        draft.replace(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


@contextlib.contextmanager
def _context(
    config: CommonConfig, folder: Path, runtime: Runtime, quiet: bool, found: Inputs
) -> Iterator[JobContext]:
    stages = StageFolder(folder / "checkpoint", config.checkpoint_seconds)
    begun = stages.read("begin")
    if begun is not None and begun["split_hash"] != found.split_hash:
        raise DataError(
            f"{folder}: cannot be resumed with other data: expected split {begun['split_hash']}, "
            f"found {found.split_hash}"
        )
    hashes = {"data_hash": found.data_hash, "split_hash": found.split_hash}
    write_json_atomic(folder / "environment.json", environment(runtime) | hashes)
    with contextlib.closing(Console(folder / "log.txt", quiet)) as console:
        tracker = open_tracker(folder, config.tracking, folder.name, stages.tracker_state)
        status: Status = "FAILED"
        try:
            stages.track(tracker)
            # Saved at once, so that however early the job is killed it goes on in the same run.
            stages.run("begin", lambda _: hashes)
            yield JobContext(folder, runtime, console, tracker, stages)
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            tracker.close(status)


def evaluate(folder: Path) -> None:
    """Prints the test metrics of a finished run's model, computed afresh from its saved model."""
    config = load_config(None, file=folder / "config.yaml")
    runtime = make_runtime(config.device, config.seed, config.threads)
    print(json.dumps(TASKS[config.task].evaluate(config, runtime, folder), indent=1))


def plot(folder: Path) -> list[Path]:
    """Draws a finished run's figures again from their saved data; returns their paths."""
    config = load_config(None, file=folder / "config.yaml")
    return draw_again(folder / "plots", TASKS[config.task].draw)


__all__ = [
    "RunResult",
    "check",
    "check_method",
    "evaluate",
    "plot",
    "run",
    "search_history",
]
