"""What every task's job is to the code that opens its run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sif.evaluation.comparison import Verdict
from sif.tasks.checkpoint import StageFolder
from sif.tasks.console import Console
from sif.tracking import Tracker
from sif.utils.device import Runtime


@dataclass(frozen=True)
class RunResult:
    """What a finished job says.

    Attributes:
        folder: The run folder.
        metrics: The content of metrics.json.
        verdict: In words and figures.
    """

    folder: Path
    metrics: dict[str, Any]
    verdict: Verdict


class Inputs(Protocol):
    """Checked data of one job."""

    @property
    def data_hash(self) -> str:
        """Of the content."""

    @property
    def split_hash(self) -> str:
        """Of the content and its parts."""


@dataclass(frozen=True)
class JobContext:
    """What every job works with.

    Attributes:
        folder: The run folder.
        runtime: Device, seed, threads.
        console: Is told.
        tracker: Records.
        stages: Keep what is done.
    """

    folder: Path
    runtime: Runtime
    console: Console
    tracker: Tracker
    stages: StageFolder


class Job(Protocol):
    """One run."""

    def run(self) -> RunResult:
        """All stages to the end."""
        ...


@dataclass(frozen=True)
class Task:
    """A kind of job.

    Attributes:
        prepare: Configuration and runtime to inputs, or an error for the user, before anything is
            written.
        job: Configuration, inputs and desk to the job.
        evaluate: Configuration, runtime and folder of a finished run to its model's test metrics.
        draw: Data of figures and folder to the paths of the figures drawn.
    """

    prepare: Callable[[Any, Runtime], Inputs]
    job: Callable[[Any, Any, JobContext], Job]
    evaluate: Callable[[Any, Runtime, Path], dict[str, float]]
    draw: Callable[[Mapping[str, Any], Path], list[Path]]
