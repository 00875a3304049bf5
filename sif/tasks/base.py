"""The values of a job: who takes part, what was found, trained and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from sif.core.genotype import Genotype
from sif.evaluation.comparison import Verdict
from sif.evaluation.evaluate import Evaluation
from sif.problems.base import Session, State, Trained
from sif.search.loop import SearchResult
from sif.tasks.checkpoint import StageFolder
from sif.tasks.console import Console
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


@dataclass(frozen=True)
class Entrants:
    """Whose networks are compared.

    Attributes:
        methods: Name to search method.
        given: Name to a design that is trained without a search.
        ours: The name that is compared with the others.
        fallback: The name that takes our place where validation prefers it; None: nobody does.
        subject: How the verdict calls ours; empty: by its expression.
    """

    methods: Mapping[str, str]
    given: Mapping[str, Any]
    ours: str
    fallback: str | None = None
    subject: str = ""


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found, as its stage keeps it.

    Attributes:
        genotype: The architecture.
        valid_loss: See `SearchResult`, as the next three.
        diagnostics: Counts of the search.
        trained: Weight steps by block, edge and operation.
        history: One entry per epoch.
        operations: Block to names of its operations.
        resting: Entries of the history in which alpha rests.
        summary: Seconds, epochs, steps and memory.
    """

    genotype: Genotype
    valid_loss: float
    diagnostics: Mapping[str, float]
    trained: Mapping[str, Tensor]
    history: Sequence[Mapping[str, Any]]
    operations: Mapping[str, Sequence[str]]
    resting: int
    summary: Mapping[str, Any]

    @classmethod
    def of(
        cls, result: SearchResult, operations: Mapping[str, Sequence[str]], resting_share: float,
        peak_memory_mb: float,
    ) -> Found:  # fmt: skip
        """From the result of a search, what its space offered, and what it took."""
        summary = {
            "seconds": result.seconds, "cpu_seconds": result.cpu_seconds,
            "epochs": result.epochs, "steps": result.steps, "peak_memory_mb": peak_memory_mb,
        }  # fmt: skip
        resting = round(resting_share * len(result.history))
        return cls(
            result.genotype, result.valid_loss, result.diagnostics, result.trained,
            result.history, operations, resting, summary,
        )  # fmt: skip

    def state(self) -> State:
        """For the stage."""
        return {**vars(self), "genotype": self.genotype.to_json()}

    @classmethod
    def restored(cls, state: State, further: Mapping[str, Any]) -> Found:
        """From the stage's state, with a `further` summary."""
        values = {entry.name: state[entry.name] for entry in fields(cls)}
        values["genotype"] = Genotype.from_json(state["genotype"])
        return cls(**{**values, "summary": {**state["summary"], **further}})

    @property
    def trained_steps(self) -> dict[str, dict[str, int]]:
        """Block to operation to the weight steps that trained it, over all edges."""
        return {
            block: dict(zip(self.operations[block], counts.sum(dim=0).tolist(), strict=True))
            for block, counts in self.trained.items()
        }

    def judged(self, name: str) -> float:
        """What validation said of the selection at last, by the name of the error."""
        return float(self.history[-1]["judged"][name])


@dataclass(frozen=True, eq=False)
class Entry:
    """One model of the comparison.

    Attributes:
        name: Of the model.
        valid: Its validation metrics.
        test: Its evaluation on the test part.
        seconds: Of its training, grid included where validation chose from one.
        params: What validation chose, and how large the model is.
    """

    name: str
    valid: Mapping[str, float]
    test: Evaluation
    seconds: float
    params: Mapping[str, Any]

    def flat(self) -> dict[str, float]:
        """Test metrics under their names and validation metrics with a prefix, for trackers."""
        valid = {f"valid.{name}": value for name, value in self.valid.items()}
        return {**self.test.metrics, **valid, "seconds": self.seconds}

    def state(self) -> State:
        """For a stage."""
        return {**vars(self), "test": vars(self.test)}

    @classmethod
    def restored(cls, state: State) -> Entry:
        """From the stage's state."""
        return cls(**{**state, "test": Evaluation(**state["test"])})


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that a job came to.

    Attributes:
        found: Searches by name.
        designs: What was trained.
        trained: Trained networks.
        entries: Rows of the comparison.
        verdict: Ours against the best of the others.
        seconds: Of the whole job.
    """

    found: Mapping[str, Found]
    designs: Mapping[str, Any]
    trained: Mapping[str, Trained[Any]]
    entries: Mapping[str, Entry]
    verdict: Verdict
    seconds: float


@dataclass(frozen=True)
class JobContext(Session):
    """What every job works with.

    Attributes:
        stages: Keep what is done.
        console: Is told.
        tracker: Records.
        folder: The run folder.
        runtime: Device, seed, threads.
    """

    stages: StageFolder
    console: Console
    folder: Path
    runtime: Runtime
