"""The search loop: weight steps on train batches, architecture steps on validation batches.

The method (`sif.core.method`) gives the gates of each weight step and takes the architecture steps.
The loop also keeps time, counts and a history (`sif.search.history`), which no method reads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sif.core.gates import Gates, Selection
from sif.core.genotype import Genotype
from sif.core.method import ArchReport, ChoosesAtEnd, LearnsArchitecture, Method
from sif.core.proximal import weight_step
from sif.core.space import Space
from sif.core.stream import Checkpointer, Stream
from sif.errors import BudgetError
from sif.search.checks import Judge, judged, refuse_divergence, refuse_illegal, refuse_report
from sif.search.history import Diagnostics, epoch_entry, numbers
from sif.tracking import Tracker
from sif.training.optim import MakeOptimizer, Schedule, adam, constant, set_rate
from sif.utils.device import finish, never
from sif.utils.ranks import sharing


@dataclass(frozen=True)
class SearchSettings:
    """Length and step sizes of the loop.

    Attributes:
        epochs: Epochs at most, of `steps_per_epoch` each.
        lr: Step size of the weights.
        arch_every: Weight steps per architecture step.
        arch_start: Weight steps before the first architecture step.
        max_norm: Bound on the weights' gradient norm; None: no bound.
        make_optimizer: Makes the optimizer of the weights.
        schedule: Factor of `lr` in each epoch.
        steps_per_epoch: Weight steps of an epoch; None: one pass over the train part.
        steps: Weight steps at most, in all; None: no bound.
        stop_after: Epochs after which the search stops, with the step sizes of one of `epochs`, so
            that it can go on; None: all.
        seconds: Budget in CPU seconds, at whose end the search stops within an epoch; None: none.
        spent: Seconds of the budget that were used before, by the pilot that measured step costs.
        reserve: Seconds of the budget that are kept for `ChoosesAtEnd.choose`.
        out_of_time: Asked after every step; once it says so, that step was the last.
    """

    epochs: int
    lr: float
    arch_every: int = 1
    arch_start: int = 0
    max_norm: float | None = None
    make_optimizer: MakeOptimizer = adam
    schedule: Schedule = constant
    steps_per_epoch: int | None = None
    steps: int | None = None
    stop_after: int | None = None
    seconds: float | None = None
    spent: float = 0.0
    reserve: float = 0.0
    out_of_time: Callable[[], bool] = never

    @property
    def length(self) -> int:
        """Epochs at whose end the search stops."""
        return self.epochs if self.stop_after is None else self.stop_after


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The architecture that a search found, and the record of the search.

    Attributes:
        genotype: The architecture.
        valid_loss: Its loss on one validation batch, with the weights of the search.
        diagnostics: `Diagnostics.summary`.
        trained: `Diagnostics.trained`.
        history: An `epoch_entry` per epoch, with "judged", "seconds", "cpu_seconds" and "steps".
        seconds: Wall time, that before an interruption included.
        epochs: Epochs run.
        steps: Weight steps taken.
        cpu_seconds: CPU time of the process, counted alike, with `SearchSettings.spent`.
        at_rest: Reason why alpha never took a step, though the method learns; empty: it did.
        objectives: Name, unit, value and bound (None: it has none) of each objective beside the
            error, of the selection.
        front: The candidates of a sampler by all objectives, see `sif.search.front`; None: there
            are none.
    """

    genotype: Genotype
    valid_loss: float
    diagnostics: dict[str, float]
    trained: dict[str, Tensor]
    history: list[dict[str, Any]]
    seconds: float
    epochs: int
    steps: int
    cpu_seconds: float = 0.0
    at_rest: str = ""
    objectives: Sequence[Mapping[str, Any]] = ()
    front: Mapping[str, Any] | None = None


class _Search:
    """A search in progress, and its state in checkpoints."""

    _STATEFUL = ("space", "method", "optimizer", "train", "valid")
    _VALUES = ("history", "epoch", "step", "seconds", "cpu_seconds")

    def __init__(
        self, space: Space, method: Method, train: Stream, valid: Stream, settings: SearchSettings
    ) -> None:
        self.space, self.method = space, method
        self.train, self.valid, self.settings = train, valid, settings
        self.optimizer = settings.make_optimizer(space.weight_parameters(), settings.lr)
        self.diagnostics = Diagnostics()
        self.history: list[dict[str, Any]] = []
        self.epoch = self.step = 0
        self.seconds, self.cpu_seconds = 0.0, settings.spent
        self._checked: Gates | None = None

    def out_of_time(self, uncounted: float, reserve: float = 0.0) -> bool:
        """True if the budget less `reserve` is used, by `cpu_seconds` and those uncounted yet."""
        seconds = self.settings.seconds
        if seconds is None:
            return False
        return sharing().told(self.cpu_seconds + uncounted >= seconds - reserve)

    def finished(self, uncounted: float = 0.0) -> bool:
        """True if no weight step is left, by epochs, steps, seconds or the end of the job."""
        steps = self.settings.steps
        over = self.epoch >= self.settings.length or (steps is not None and self.step >= steps)
        over = over or self.out_of_time(uncounted, self.settings.reserve)
        return over or (self.step > 0 and self.settings.out_of_time())

    def run_epoch(self) -> None:
        """Weight steps and, where they are due, architecture steps; then the history's entry."""
        settings, losses, reports = self.settings, list[Tensor](), list[ArchReport]()
        trained: list[Selection | None] = []
        start, cpu = time.perf_counter(), time.process_time()
        sharing().align(*self.space.weight_parameters())
        set_rate(self.optimizer, settings.schedule(self.epoch, settings.epochs) * settings.lr)
        for left in reversed(range(settings.steps_per_epoch or self.train.steps_per_pass)):
            batch = self.train.next()
            due = self.step >= settings.arch_start and self.step % settings.arch_every == 0
            if due and isinstance(self.method, LearnsArchitecture):
                before = self.method.best_gates().choices()
                reports.append(self.method.arch_step(self.space, batch, self.valid.next()))
                self._agree()
                refuse_report(reports[-1], self.epoch + 1, self.settings.lr)
                self.diagnostics.compare(before, self.method, self.space.blocks)
            gates = self._legal(self.method.weight_gates(self.step))
            self.diagnostics.count(gates)
            losses.append(weight_step(self.space, batch, gates, self.optimizer, settings.max_norm))
            trained.append(gates.active)
            self.step += 1
            if left and self.finished(time.process_time() - cpu):
                break
        self.epoch += 1
        finish(self.space.reference_tensor().device)
        self.seconds += time.perf_counter() - start
        self.cpu_seconds += time.process_time() - cpu
        selection = self.best_gates().choices()
        entry = epoch_entry(losses, trained, reports, self.method.alpha(), selection)
        self.history.append({**self._clock(), "steps": self.step, **entry})

    def _agree(self) -> None:
        """Machines that compute together may round differently: the selection is one's."""
        ranks = sharing()
        if ranks.count > 1:
            self.method.load_state_dict(ranks.told(self.method.state_dict()))

    def _clock(self) -> dict[str, float]:
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}

    def _legal(self, gates: Gates) -> Gates:
        """The gates, after a check unless they were the last that were checked."""
        if gates is not self._checked:
            refuse_illegal(gates, self.space.blocks, type(self.method).__name__)
            self._checked = gates
        return gates

    def best_gates(self) -> Gates:
        """The method's best gates; ConfigError unless legal, ShapeError if relaxed."""
        gates = self.method.best_gates()
        gates.choices()
        return self._legal(gates)

    def choose(self, method: ChoosesAtEnd, error: Callable[[Gates], float]) -> None:
        """Lets the method choose among candidates, within the rest of the budget."""
        start, cpu = time.perf_counter(), time.process_time()
        judged = 0

        def error_in_time(gates: Gates) -> float:
            nonlocal judged
            if judged and self.out_of_time(time.process_time() - cpu):
                return math.inf  # no time is left to judge this one
            judged += 1
            return error(self._legal(gates))

        method.choose(error_in_time)
        self.seconds += time.perf_counter() - start
        self.cpu_seconds += time.process_time() - cpu
        selection = self.best_gates().choices().to_lists()
        self.history.append({**self.history[-1], **self._clock(), "selection": selection})

    def state(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name).state_dict() for name in self._STATEFUL},
            **{name: getattr(self, name) for name in self._VALUES},
            "diagnostics": vars(self.diagnostics),
            "budget": {"steps": self.settings.steps, "reserve": self.settings.reserve},
        }

    def restore(self, state: dict[str, Any]) -> None:
        for name in self._STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        for name in self._VALUES:
            setattr(self, name, state[name])
        self.diagnostics = Diagnostics(**state["diagnostics"])


def search(
    space: Space, method: Method, train: Stream, valid: Stream, settings: SearchSettings,
    tracker: Tracker, checkpointer: Checkpointer,
    on_epoch: Callable[[int, dict[str, Any]], None] = lambda epoch, entry: None,
    judge: Judge | None = None,
) -> SearchResult:  # fmt: skip
    """Runs a search, from its start or its last checkpoint to its end.

    Args:
        space: The supernet.
        method: The search method, made for the space.
        train: Endless batches for the weights.
        valid: Endless batches for the architecture.
        settings: Length and step sizes.
        tracker: Receives losses, alpha and scores of every epoch.
        checkpointer: Saves the state after epochs.
        on_epoch: Called with the epoch's number and history entry, for progress display.
        judge: Judges the selection after every epoch, which the budget does not count. A method
            that chooses at the end does so by its first metric; that the budget counts.

    Returns:
        The architecture and the record of the search.

    Raises:
        DivergedError: A loss is not finite, or a score is NaN.
        ConfigError: The method gave gates that do not fit the space.
        BudgetError: The seconds do not suffice for one step.
    """
    run = _Search(space, method, train, valid, settings)
    if (saved := checkpointer.restore()) is not None:
        run.restore(saved)
    while not run.finished():
        run.run_epoch()
        entry = run.history[-1]
        refuse_divergence(entry, run.epoch, settings.lr)
        entry["judged"] = judged(judge, run.best_gates(), run.epoch, settings.lr) if judge else {}
        tracker.log(numbers(entry, space.blocks), run.epoch)
        on_epoch(run.epoch, entry)
        checkpointer.offer(run.state)
    if not run.history:
        raise BudgetError(
            f"search.seconds: expected more than the {run.cpu_seconds:.3g} s that a pilot and the "
            f"choice at the end take, found {settings.seconds}"
        )
    if judge is not None and isinstance(method, ChoosesAtEnd):
        run.choose(method, lambda gates: next(iter(judge(gates).values())))
        run.history[-1]["judged"] = dict(judge(run.best_gates()))
    gates = run.best_gates()
    with torch.no_grad():
        valid_loss = float(space.loss(valid.next(), gates))
    return SearchResult(
        space.genotype(gates), valid_loss, run.diagnostics.summary(method, space.blocks),
        run.diagnostics.trained, run.history, run.seconds, run.epoch, run.step, run.cpu_seconds,
    )  # fmt: skip
