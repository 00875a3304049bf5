"""The values of a job: entrants, searches, trainings and measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sif.core.genotype import Genotype
from sif.evaluation.choice import Choice
from sif.evaluation.comparison import Verdict
from sif.evaluation.evaluate import Evaluation
from sif.problems.base import Session, State, Trained
from sif.report import PAGE
from sif.search.loop import SearchResult
from sif.tasks.checkpoint import StageFolder
from sif.tasks.console import Console
from sif.tasks.shared_stages import SharedStages
from sif.utils.calls import HERE, Calls
from sif.utils.device import Runtime


@dataclass(frozen=True)
class RunResult:
    """The result of a finished job.

    Attributes:
        folder: The run folder.
        metrics: The content of metrics.json.
        verdict: In words and figures.
    """

    folder: Path
    metrics: dict[str, Any]
    verdict: Verdict

    def document(self) -> dict[str, Any]:
        """The result for other programs, as JSON-ready values.

        Returns:
            Keys 'verdict' (a sentence), 'comparison' and 'searching' (its numbers and those of the
            verdict on the search; None: there are none), 'entrants' (ours first; each with its
            'name', whether it is 'ours', and its metrics as metrics.json has them), 'folder',
            'metrics' and 'report' (absolute paths; None: no such file), 'seconds'. Where the data
            have features, 'features' says whether they helped, as metrics.json has it.
        """
        found, folder = self.metrics, self.folder.absolute()
        ours = {
            "name": found.get("entrant"), "ours": True, "valid": found.get("valid"),
            "test": found.get("test"),
        }  # fmt: skip
        others = [_entrant(name, one) for name, one in found.get("baselines", {}).items()]

        def path(name: str) -> str | None:
            return str(folder / name) if (folder / name).is_file() else None

        return {
            "verdict": self.verdict.text,
            "comparison": found.get("comparison"),
            "searching": found.get("searching"),
            "task": found["task"],
            "dataset": found["dataset"],
            "metric": found["metric"],
            "entrants": [ours, *others],
            "folder": str(folder),
            "metrics": path("metrics.json"),
            "report": path(PAGE),
            "seconds": found["total_seconds"],
            **({"features": found["features"]} if "features" in found else {}),
        }

    def __repr__(self) -> str:
        return f"RunResult({str(self.folder)!r}: {self.verdict.text})"


def _entrant(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """A baseline of metrics.json, whose test metrics lie among its other numbers there.

    Of several moments they are means, and validation is a single number.
    """
    test = found["mean"] if "mean" in found else {k: found[k] for k in found["valid"] if k in found}
    return {"name": name, "ours": False, "valid": found["valid"], "test": test}


@dataclass(frozen=True)
class Entrants:
    """Whose networks are compared.

    Attributes:
        methods: Name to search method.
        given: Name to a design that is trained without a search.
        ours: The name that is compared with the others.
        fallbacks: Names that may take our place where validation prefers one.
        subject: Name of our model in the verdict; empty: its expression.
        compared: Names that never take our place, since they are not served.
        paced: Name of a control to that of the searched model whose seconds it has.
    """

    methods: Mapping[str, str]
    given: Mapping[str, Any]
    ours: str
    fallbacks: tuple[str, ...] = ()
    subject: str = ""
    compared: tuple[str, ...] = ()
    paced: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class Found(SearchResult):
    """The result of a search, as its stage keeps it.

    Attributes:
        operations: Block to names of its operations.
        resting: Entries of the history in which alpha rests.
        peak_memory_mb: Of the search alone.
        further: Further entries of the summary.
    """

    operations: Mapping[str, Sequence[str]]
    resting: int
    peak_memory_mb: float
    further: Mapping[str, Any] = field(default_factory=dict)

    def state(self) -> State:
        """For the stage."""
        return {**vars(self), "genotype": self.genotype.to_json()}

    @classmethod
    def restored(cls, state: State, further: Mapping[str, Any]) -> Found:
        """From the stage's state."""
        genotype = Genotype.from_json(state["genotype"])
        return cls(**{**state, "genotype": genotype, "further": further})

    @property
    def summary(self) -> dict[str, Any]:
        """Seconds, epochs, steps and memory."""
        names = ("seconds", "cpu_seconds", "epochs", "steps", "peak_memory_mb")
        return {**{name: getattr(self, name) for name in names}, **self.further}

    @property
    def trained_steps(self) -> dict[str, dict[str, int]]:
        """Block to operation to the weight steps that trained it, over all edges."""
        return {
            block: dict(zip(self.operations[block], counts.sum(dim=0).tolist(), strict=True))
            for block, counts in self.trained.items()
        }

    def judged(self, name: str) -> float:
        """The last validation of the selection, by the name of the error."""
        return float(self.history[-1]["judged"][name])

    def finish_lines(self, name: str) -> list[str]:
        """A line on the finish of the search, if it had one.

        Args:
            name: Of the entrant.
        """
        if "finished" not in self.diagnostics:
            return []
        if not self.diagnostics["finished"]:
            return [f"{name}: finish: left out, since there was no time for two selections"]
        found = "another than" if self.diagnostics["finish_changed"] else "also"
        line = (
            f"{name}: finish: {self.diagnostics['finished']:.0f} selections trained alone; the "
            f"best of them is {found} that of the search with shared weights"
        )
        return [line]


@dataclass(frozen=True, eq=False)
class Tuned:
    """A baseline as validation chose it, which no test has seen yet.

    Attributes:
        name: Of the model.
        valid: Its validation metrics.
        seconds: Of its grid.
        params: Choices of validation.
        merits: (n,) of each validation user, where it may be served; None: it may not.
        edge: Parameters whose best value is at an end of what was tried.
        tried: See `Trained`.
    """

    name: str
    valid: Mapping[str, float]
    seconds: float
    params: Mapping[str, Any]
    merits: NDArray[np.float64] | None = None
    edge: Sequence[str] = ()
    tried: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, eq=False)
class Entry:
    """One model of the comparison.

    Attributes:
        name: Of the model.
        valid: Its validation metrics.
        test: Its evaluation on the test part.
        seconds: Of its training, grid included where validation chose from one.
        params: Choices of validation and sizes of the model.
        refit: "seconds" of the second fit, which was tested, and "steps" where it has such; empty:
            the first was tested.
        merits: See `Tuned`; None of networks.
        edge: See `Tuned`.
        tried: See `Trained`; of networks it is there.
    """

    name: str
    valid: Mapping[str, float]
    test: Evaluation
    seconds: float
    params: Mapping[str, Any]
    refit: Mapping[str, float] = field(default_factory=dict)
    merits: NDArray[np.float64] | None = None
    edge: Sequence[str] = ()
    tried: Sequence[Mapping[str, Any]] = ()

    def flat(self) -> dict[str, float]:
        """Metrics with the name of their part before them, and seconds, for trackers."""
        test = {f"test.{name}": value for name, value in self.test.metrics.items()}
        valid = {f"valid.{name}": value for name, value in self.valid.items()}
        return {**test, **valid, "seconds": self.seconds}

    def state(self) -> State:
        """For a stage."""
        return {**vars(self), "test": vars(self.test)}

    @classmethod
    def restored(cls, state: State) -> Entry:
        """From the stage's state."""
        return cls(**{**state, "test": Evaluation(**state["test"])})


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that a job came to, by the names of the entrants.

    Attributes:
        found: The searches.
        designs: The designs that were trained.
        trained: The trainings.
        entries: Rows of the comparison.
        verdict: Ours against the best baseline.
        searching: The searched model against a random one of the same seconds, as first fitted;
            None: there is none.
        seconds: Of the whole job.
        left_out: Entrants that diverged, with what happened.
        served: Ours fitted once more, on all rows; None: the tested one is served.
        choice: Of the model that is served; None: ours is, without a choice.
        baseline: The model of a baseline, where one is served.
        stands: Name of the entrant whose model stands for ours; None: ours does itself.
        features: The trial of features of each entrant whose first fit stands (see
            `sif.problems.feature_trial`); empty of one that had nothing to try.
    """

    found: Mapping[str, Found]
    designs: Mapping[str, Any]
    trained: Mapping[str, Trained[Any]]
    entries: Mapping[str, Entry]
    verdict: Verdict
    seconds: float
    left_out: Mapping[str, str]
    served: Trained[Any] | None = None
    choice: Choice | None = None
    baseline: Any = None
    searching: Verdict | None = None
    stands: str | None = None
    features: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def named(self, name: str, ours: str) -> str:
        """The entrant that a name is of: of ours what stands for it."""
        return self.stands if name == ours and self.stands else name


@dataclass(frozen=True, kw_only=True)
class JobContext(Session):
    """A session with the run folder, and what every job works with.

    Attributes:
        stages: Results of what is done.
        console: Where it is told.
        folder: Run folder.
        runtime: Device, threads and seed.
        finish: Whether the job ends with what is there.
        calls: Makes calls that do not wait for each other.
    """

    stages: StageFolder | SharedStages
    console: Console
    folder: Path
    runtime: Runtime
    finish: bool = False
    calls: Calls = HERE


RunOne = Callable[[Any, bool], RunResult]
"""Configuration, and whether its job was begun, to the result of the job."""
InTurn = Callable[[JobContext, RunOne], RunResult]
"""Runs several jobs, one after the other, in the folder of one."""
