"""What a job on cells asks of its data, and everything that the job came to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from sif.core.genotype import Genotype
from sif.evaluation.comparison import Verdict
from sif.evaluation.evaluate import Evaluation
from sif.search.loop import SearchResult
from sif.tasks.cells.entrants import Entrants
from sif.tasks.checkpoint import LoopCheckpointer, State
from sif.tasks.report import Entry
from sif.tracking import Tracker
from sif.training.loop import TrainResult


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that a contest came to.

    Attributes:
        found: States of the searches by name.
        designs: What was trained.
        trained: States of the trainings.
        entries: Rows of the comparison.
        decision: The verdict.
        seconds: Of the whole job.
    """

    found: Mapping[str, State]
    designs: Mapping[str, Any]
    trained: Mapping[str, State]
    entries: Mapping[str, Entry]
    decision: Verdict
    seconds: float


Show = Callable[[int, Mapping[str, Any]], None]


class CellProblem(Protocol):
    """What is searched, trained and tested.

    Attributes:
        task: Name of the task.
        metric: Validation and test metric that decides, the lower the better.
        shown: Metric that people are shown on the way, which may be another form of it.
        unit: Behind a value of that, such as " %".
        judged: Name of the number by which a search judges its selection.
        entrants: Who is compared.
        origin: Where our cells come from, such as "of darts-v2".
        operations: Block of the space to names of its operations.
        epochs: Of a search and of a training.
    """

    task: str
    metric: str
    shown: str
    unit: str
    judged: str
    entrants: Entrants
    origin: str
    operations: Mapping[str, Sequence[str]]
    epochs: tuple[int, int]

    def opening(self) -> list[str]:
        """Lines about the data."""
        ...

    def tags(self) -> dict[str, str]:
        """Of the run: data set, hashes, protocol."""
        ...

    def protocol(self) -> dict[str, Any]:
        """Of the split, for metrics.json."""
        ...

    def search(
        self, method: str, tracker: Tracker, checkpointer: LoopCheckpointer, show: Show
    ) -> tuple[SearchResult, float]:
        """A search and how validation judges its selection."""
        ...

    def design(self, genotype: Genotype) -> Any:
        """What is trained for a genotype."""
        ...

    def spelled(self, design: Any) -> tuple[str, str]:
        """A design on one line for people, and in the text that others read."""
        ...

    def watched(self, design: Any) -> dict[str, float]:
        """Shares that tell a collapsed search."""
        ...

    def network(self, design: Any) -> nn.Module:
        """Untrained, the same first weights for equal designs."""
        ...

    def train(
        self, design: Any, tracker: Tracker, checkpointer: LoopCheckpointer, show: Show
    ) -> tuple[TrainResult, nn.Module]:
        """Trains a design from scratch."""
        ...

    def sizes(self, network: nn.Module) -> dict[str, int]:
        """The number of "parameters", and what else is counted."""
        ...

    def test(self, network: nn.Module) -> Evaluation:
        """On the test part."""
        ...

    def save(self, folder: Path, design: Any, network: nn.Module) -> None:
        """Writes what serves."""
        ...

    def figure_data(self, results: Results) -> dict[str, Any]:
        """Everything that is drawn, as JSON."""
        ...

    def draw(self, document: Mapping[str, Any], folder: Path) -> list[Path]:
        """Draws it; returns the paths."""
        ...
