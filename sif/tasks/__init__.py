"""Jobs of cf, cnn and rnn: one `JobRunner` searches, trains, tests, reports and resumes.

A job puts configuration, data, a problem, baselines, tracking and figures together.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sif.config import CommonConfig, differences, dump_config, load_config, new_run_folder
from sif.errors import ConfigError, DataError
from sif.methods.registry import METHODS
from sif.problems.configuration import load_job_config, resolved
from sif.tasks.base import JobContext, RunResult
from sif.tasks.checkpoint import StageFolder, evaluations_of, search_history
from sif.tasks.console import Console, Remarks
from sif.tasks.figures import draw_again
from sif.tasks.job import JobRunner
from sif.tasks.records import introduction
from sif.tasks.registry import task_named
from sif.tasks.shared_stages import SharedStages
from sif.tasks.study import Study, Task
from sif.tracking import NullTracker, Tracker, check_installed, open_tracker
from sif.tracking.base import closed_with_status
from sif.utils.argument_types import checks_types
from sif.utils.calls import HERE, CallExecutor, Calls
from sif.utils.checkpoint import new_folder, write_json_atomic, write_text_atomic
from sif.utils.device import Runtime, deterministic, make_runtime, torch_threads
from sif.utils.digest import digest
from sif.utils.environment import environment
from sif.utils.locks import locked
from sif.utils.ranks import Ranks, joined

STAGES = 5
"""Version of what the stages of a job keep."""

AT_WORK = "another process is at work in this run"
"""Why a run folder is refused."""


def run(
    config: CommonConfig, *, resume: bool = False, quiet: bool = False, finish: bool = False,
    executor: CallExecutor | None = None,
) -> RunResult:  # fmt: skip
    """Runs the job that a configuration describes.

    Args:
        config: With `output_dir` set; the folder is made here, once the inputs have been checked.
        resume: Go on in a folder where the same job was interrupted.
        quiet: Only results on the terminal.
        finish: End with what is there: nothing new is begun, the best so far is served.
        executor: Where calls are made that do not wait for each other; None: in this process.

    Returns:
        Where the results are and what they say.

    Raises:
        SifError: Anything that is wrong with the input, before the run folder is made.
    """
    if config.output_dir is None:
        raise ConfigError("output_dir: expected a folder, found none")
    if executor is not None:
        executor.check()
    with contextlib.ExitStack() as stack:
        ranks = stack.enter_context(joined(config.device))
        folder = ranks.told(config.output_dir)
        config = config.model_copy(update={"output_dir": folder})
        task, config, study = ranks.in_turn(lambda: _prepared(config, resume, ranks))
        _agreed(ranks, config, study)
        remarks = Remarks()
        calls = stack.enter_context(_calls(executor, study.problem.runtime, ranks, remarks))
        if not resume:
            ranks.first(lambda: _make_folder(folder, config))
        context = stack.enter_context(_context(config, folder, quiet, study, finish, ranks))
        remarks.pass_on(context.console)
        stack.enter_context(deterministic())
        several = task.in_turn(config)
        if several is not None:
            again = partial(run, quiet=quiet, executor=executor)
            return several(context, lambda one, begun: again(one, resume=begun))
        return JobRunner(study, replace(context, calls=calls), task.draw).run()


def _calls(
    executor: CallExecutor | None, runtime: Runtime, ranks: Ranks, remarks: Remarks
) -> AbstractContextManager[Calls]:
    """The calls of a job: of an executor, or of this process."""
    if executor is None:
        return contextlib.nullcontext(HERE)
    if ranks.count > 1:
        raise ConfigError("executor: expected local under torchrun, found another")
    return executor.calls(runtime.threads, runtime.device, remarks.line)


def _prepared(
    config: CommonConfig, resume: bool, ranks: Ranks
) -> tuple[Task, CommonConfig, Study]:  # fmt: skip
    """The task, the configuration with what the machine decides, and the study on the data."""
    file = None if config.output_dir is None else config.output_dir / "config.yaml"
    with _settings_of(file if resume else None):
        task, config = _checked_task(config)
        runtime = make_runtime(config.device, config.seed, config.threads)
        # A rerun or a resume elsewhere must not fall back on another machine's thread count.
        fixed = {"threads": runtime.threads, "device": str(runtime.device)}
        config = config.model_copy(update=fixed)
        study = task.prepare(config, replace(runtime, processes=ranks.count))
    check_installed(config.tracking)
    return task, config, study


def _agreed(ranks: Ranks, config: CommonConfig, study: Study) -> None:
    """Refuses settings or data of which processes have different ones.

    Raises:
        ConfigError: The first process that has others is named, by all.
    """
    first, *others = ranks.gathered((config, study.split_hash))
    for number, one in enumerate(others, 1):
        changed = differences(first[0], one[0])
        if changed or first[1] != one[1]:
            what = "; ".join(changed) or f"data: split {first[1]} or {one[1]}"
            raise ConfigError(
                f"torchrun: expected the same in all processes, found in process 0 or {number}: "
                f"{what}"
            )


def _settings(config: CommonConfig) -> str:
    """A digest of everything but the folder."""
    return digest([dump_config(config.model_copy(update={"output_dir": None}))])


@contextlib.contextmanager
def _settings_of(file: Path | None) -> Iterator[None]:
    """A block in which a refused setting is told with the file that has it; None: no file has."""
    try:
        yield
    except ConfigError as error:
        if file is None or str(file) in str(error):
            raise
        raise ConfigError(f"{file}: {error}") from None


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
    METHODS.named(config.method)  # every task takes all of them
    return task_named(config.task), resolved(config)


def _make_folder(folder: Path, config: CommonConfig) -> None:
    """The run folder with its configuration: both or neither, even if killed in between."""
    if folder.exists() and any(folder.iterdir()):
        with locked(folder, AT_WORK):  # says so where a job is at work in it
            pass
        raise ConfigError(f"{folder}: run folder exists; resume it, or name another")
    with new_folder(folder) as draft:
        write_text_atomic(draft / "config.yaml", dump_config(config))
        (draft / "checkpoint").mkdir(exist_ok=True)


@contextlib.contextmanager
def _context(
    config: CommonConfig, folder: Path, quiet: bool, study: Study, finish: bool, ranks: Ranks
) -> Iterator[JobContext]:
    """The run folder, which one process alone works in, the first of them."""
    with contextlib.ExitStack() as stack:
        runtime, kept = study.problem.runtime, None
        console = Console(None, quiet=True)
        tracker: Tracker = NullTracker()
        if ranks.is_first:
            stack.enter_context(locked(folder, AT_WORK))
            kept = _begun(config, folder, study)
            hashes = {"data_hash": study.data_hash, "split_hash": study.split_hash}
            machine = environment(runtime)
            write_json_atomic(folder / "environment.json", machine | hashes)
            console = Console(folder / "log.txt", quiet)
            stack.enter_context(contextlib.closing(console))
            tracker = open_tracker(folder, config.tracking, study.run_name, kept.tracker_state)
            stack.enter_context(closed_with_status(tracker))
            tracker.introduce(introduction(study, machine["git_commit"]))
            kept.track(tracker)
            # Saved at once, so that however early the job is killed it goes on in the same run.
            settings = {"settings": _settings(config), "stages": STAGES}
            kept.run("begin", lambda _: {**hashes, **settings})
            if finish:  # for good: later stages build on what is left out now
                kept.run("finish", lambda _: {})
        stages = kept if kept and ranks.count == 1 else SharedStages(ranks, kept)
        yield JobContext(
            stages=stages, console=console, tracker=tracker, folder=folder, runtime=runtime,
            finish=stages.read("finish") is not None,
        )  # fmt: skip


def _begun(config: CommonConfig, folder: Path, study: Study) -> StageFolder:
    """The stages of a run folder, whose job is the same if it was begun."""
    stages = StageFolder(folder / "checkpoint", config.checkpoint_seconds)
    begun = stages.read("begin")
    if begun is not None and begun.get("stages") != STAGES:
        raise ConfigError(f"{folder}: another version began this run; run its config.yaml again")
    if begun is not None and begun["split_hash"] != study.split_hash:
        raise DataError(
            f"{folder}: cannot be resumed with other data: expected split {begun['split_hash']}, "
            f"found {study.split_hash}"
        )
    settings = _settings(config)
    if begun is not None and begun.get("settings", settings) != settings:
        raise ConfigError(f"{folder / 'config.yaml'}: expected what the run began with")
    return stages


def evaluate(folder: Path) -> None:
    """Prints the test metrics of a finished run's model, computed afresh from its saved model."""
    config = load_config(None, file=folder / "config.yaml")
    runtime = make_runtime(config.device, config.seed, config.threads)
    study = task_named(config.task).prepare(config, runtime)
    print(json.dumps(study.test_saved(folder / "model").metrics, indent=1))


def plot(folder: Path) -> list[Path]:
    """Draws a finished run's figures again from their saved data; returns their paths."""
    config = load_config(None, file=folder / "config.yaml")
    return draw_again(folder / "plots", task_named(config.task).draw)


@checks_types
def run_job(
    config: CommonConfig, *, resume: bool = False, quiet: bool = True,
    executor: CallExecutor | None = None,
) -> RunResult:  # fmt: skip
    """Runs a job: search, training, baselines, one test, verdict, figures, all in a run folder.

    Settings that were not given are those of the presets, as on the command line. So the job has a
    `budget` of ten minutes of wall time unless the configuration says otherwise. To keep to it, the
    job may shorten trainings and leave models out; `metrics["plan"]` says what. `budget=None` lifts
    it.

    Args:
        config: `CFConfig`, `CNNConfig` or `RNNConfig`. Without `output_dir` the folder is a new one
            below runs/, named after task, data, time and settings.
        resume: Go on in `output_dir`, where the same job was interrupted; what is not given is as
            it was there.
        quiet: Only results on the terminal.
        executor: `sif.bench.RayExecutor`, with which baselines are tuned, and candidates of
            samplers trained, as tasks of Ray; None: in this process.

    Returns:
        `folder`, `metrics` (the content of metrics.json) and `verdict`.

    Raises:
        SifError: Anything that is wrong with the input, before the run folder is made.

    Examples:
        >>> orders.to_csv("orders.csv", index=False)
        >>> config = sif.CFConfig(
        ...     dataset="orders.csv", search={"epochs": 5}, train={"epochs": 5, "l2": [1.0]},
        ...     baselines=["popularity"], tracking={"enabled": False}, threads=1,
        ... )
        >>> result = sif.run_job(config)
        model ...
        >>> sorted(result.metrics["test"])[:2]
        ['arp@10', 'arp@20']
        >>> sif.Recommender.load(result.folder).recommend("c1", n=2)["rank"].tolist()
        [1, 2]
    """
    given = config.model_dump(exclude_unset=True)
    if resume:
        config = _resumed(config.output_dir, given)
        return run(config, resume=True, quiet=quiet, executor=executor)
    config = load_job_config(config.task, layers=[("config", given)], job=True)
    config = config.model_copy(update={"output_dir": new_run_folder(config, datetime.now())})
    return run(config, quiet=quiet, executor=executor)


def _resumed(folder: Path | None, given: Mapping[str, Any]) -> CommonConfig:
    """The interrupted job's own configuration, with which given settings must agree."""
    if folder is None or not (folder / "config.yaml").is_file():
        raise ConfigError(f"output_dir: expected the folder of a run to resume, found {folder}")
    file = folder / "config.yaml"
    config = load_job_config(None, file=file, layers=[("config", given)])
    changed = differences(config, load_job_config(None, file=file))
    if changed:
        raise ConfigError(f"{folder}: cannot be resumed with other settings ({'; '.join(changed)})")
    return config


__all__ = [
    "RunResult",
    "check",
    "evaluate",
    "evaluations_of",
    "plot",
    "run",
    "run_job",
    "search_history",
]
