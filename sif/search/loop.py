"""The search loop: weight steps on train batches, architecture steps on validation batches.

It asks a method (`sif.core.method`) for gates, takes steps, and counts. Counts and history do not
influence the search (`sif.search.history`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sif.core.gates import Block, Gates, Selection
from sif.core.genotype import Genotype
from sif.core.method import ArchReport, ChoosesAtEnd, LearnsArchitecture, Method
from sif.core.proximal import weight_step
from sif.core.space import Space
from sif.core.stream import Checkpointer, Stream
from sif.errors import BudgetError, ConfigError, ShapeError
from sif.search.history import Diagnostics, epoch_entry, numbers, refuse, refuse_divergence
from sif.tracking import Tracker
from sif.training.optim import MakeOptimizer, Schedule, adam, constant, set_rate

Judge = Callable[[Gates], Mapping[str, float]]
"""Metrics of a selection, the first of which decides."""


@dataclass(frozen=True)
class SearchSettings:
    """Numbers of the loop.

    Attributes:
        epochs: Passes over the train part, or stretches of `steps_per_epoch`.
        lr: Step size of the weights.
        arch_every: Weight steps per architecture step.
        arch_start: Weight steps before the first architecture step.
        max_norm: Bound on the weights' gradient norm; None: none.
        make_optimizer: Of the weights.
        schedule: Factor of `lr` in each epoch.
        steps_per_epoch: Weight steps; None: one pass.
        steps: Weight steps in all, where they and not the epochs decide.
        seconds: CPU seconds after which the search stops, wherever it is; None: never.
        spent: CPU seconds that count as used when it begins.
        reserve: CPU seconds that weight steps leave to a choice at the end.
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
    seconds: float | None = None
    spent: float = 0.0
    reserve: float = 0.0


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The architecture of a search, and its record.

    Attributes:
        genotype: The architecture.
        valid_loss: Loss of exactly that architecture, with the search's weights, on one validation
            batch.
        diagnostics: `Diagnostics.summary`.
        trained: The same as in `Diagnostics`.
        history: One entry per epoch: "seconds" of wall time, "cpu_seconds" and "steps" so far,
            "loss", "valid_loss", what a judge said of the selection ("judged"), and nested lists
            "alpha" and "scores" (kind to block to rows).
        seconds: Wall time, over all sittings.
        epochs: Epochs run.
        steps: Weight steps taken.
        cpu_seconds: CPU time of the process, over all sittings.
        at_rest: Reason why alpha never took a step, though the method learns; empty: it did.
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


class _Search:
    """State of a running search."""

    _PARTS = ("space", "method", "optimizer", "train", "valid")
    _COUNTS = ("history", "epoch", "step", "seconds", "cpu_seconds")

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

    def out_of_time(self, running: float, reserve: float = 0.0) -> bool:
        """True if the budget is used up so many CPU seconds after the clock was read."""
        seconds = self.settings.seconds
        return seconds is not None and self.cpu_seconds + running >= seconds - reserve

    def finished(self, running: float = 0.0) -> bool:
        """True if no weight step is left, by epochs, steps or seconds."""
        steps = self.settings.steps
        over = self.epoch >= self.settings.epochs or (steps is not None and self.step >= steps)
        return over or self.out_of_time(running, self.settings.reserve)

    def run_epoch(self) -> None:
        settings, losses, reports = self.settings, list[Tensor](), list[ArchReport]()
        start, cpu = time.perf_counter(), time.process_time()
        set_rate(self.optimizer, settings.schedule(self.epoch, settings.epochs) * settings.lr)
        for _ in range(settings.steps_per_epoch or self.train.steps_per_pass):
            batch = self.train.next()
            due = self.step >= settings.arch_start and self.step % settings.arch_every == 0
            if due and isinstance(self.method, LearnsArchitecture):
                before = self.method.best_gates().choices()
                reports.append(self.method.arch_step(self.space, batch, self.valid.next()))
                refuse(reports[-1], self.epoch + 1)
                self.diagnostics.compare(before, self.method, self.space.blocks)
            gates = self._legal(self.method.weight_gates(self.step))
            self.diagnostics.count(gates)
            losses.append(weight_step(self.space, batch, gates, self.optimizer, settings.max_norm))
            self.step += 1
            if self.finished(time.process_time() - cpu):
                break
        self.epoch += 1
        self.seconds += time.perf_counter() - start
        self.cpu_seconds += time.process_time() - cpu
        selection = self.best_gates().choices()
        entry = epoch_entry(losses, reports, self.method.alpha(), selection)
        self.history.append({**self._clock(), "steps": self.step, **entry})

    def _clock(self) -> dict[str, float]:
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}

    def _legal(self, gates: Gates) -> Gates:
        if gates is not self._checked:
            refuse_illegal(gates, self.space.blocks, self.method)
            self._checked = gates
        return gates

    def best_gates(self) -> Gates:
        """The method's best gates, checked."""
        gates = self.method.best_gates()
        gates.choices()  # and not relaxed
        return self._legal(gates)

    def choose(self, error: Callable[[Gates], float]) -> None:
        """Lets a method that chooses at the end do so, on the search's clock."""
        if not isinstance(self.method, ChoosesAtEnd):
            return
        start, cpu = time.perf_counter(), time.process_time()
        judged = 0

        def in_time(gates: Gates) -> float:
            nonlocal judged
            if judged and self.out_of_time(time.process_time() - cpu):
                return math.inf  # no time is left to judge it
            judged += 1
            return error(self._legal(gates))

        self.method.choose(in_time)
        self.seconds += time.perf_counter() - start
        self.cpu_seconds += time.process_time() - cpu
        selection = self.best_gates().choices().to_lists()
        self.history.append({**self.history[-1], **self._clock(), "selection": selection})

    def state(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name).state_dict() for name in self._PARTS},
            **{name: getattr(self, name) for name in self._COUNTS},
            "diagnostics": vars(self.diagnostics),
            "budget": {"steps": self.settings.steps, "reserve": self.settings.reserve},
        }

    def restore(self, state: dict[str, Any]) -> None:
        for name in self._PARTS:
            getattr(self, name).load_state_dict(state[name])
        for name in self._COUNTS:
            setattr(self, name, state[name])
        self.diagnostics = Diagnostics(**state["diagnostics"])


def refuse_illegal(point: Gates | Selection, blocks: Sequence[Block], method: object) -> None:
    """Raises ConfigError, one line that names the method, for gates that do not fit the blocks."""
    try:
        point.check(blocks)
    except ShapeError as error:
        raise ConfigError(f"method {type(method).__name__}: {error}") from None


def search(
    space: Space,
    method: Method,
    train: Stream,
    valid: Stream,
    settings: SearchSettings,
    tracker: Tracker,
    checkpointer: Checkpointer,
    on_epoch: Callable[[int, dict[str, Any]], None] = lambda epoch, entry: None,
    judge: Judge | None = None,
) -> SearchResult:
    """Searches from the start or the last checkpoint.

    Args:
        space: The supernet.
        method: The search method, made for the space.
        train: Endless batches for the weights.
        valid: Endless batches for the architecture.
        settings: Numbers of the loop.
        tracker: Receives the losses of every epoch.
        checkpointer: Keeps the loop's state.
        on_epoch: Called with the epoch's number and history entry, for progress display.
        judge: Asked about the selection after every epoch, off the clock; by its first number, the
            lower the better, a method chooses that does so at the end, on the clock.

    Returns:
        The architecture and the record of the search.

    Raises:
        DivergedError: The search diverged.
        ConfigError: A method whose gates are none of the space's.
        BudgetError: Seconds for no step at all.
    """
    run = _Search(space, method, train, valid, settings)
    if (saved := checkpointer.restore()) is not None:
        run.restore(saved)
    while not run.finished():
        run.run_epoch()
        entry = run.history[-1]
        refuse_divergence(entry, run.epoch)
        entry["judged"] = dict(judge(run.best_gates())) if judge else {}
        tracker.log(numbers(entry, space.blocks), run.epoch)
        on_epoch(run.epoch, entry)
        checkpointer.offer(run.state)
    if not run.history:
        raise BudgetError(
            f"search.seconds: expected more than the {run.cpu_seconds:.3g} s that a pilot and the "
            f"choice at the end take, found {settings.seconds}"
        )
    if judge is not None and isinstance(method, ChoosesAtEnd):
        run.choose(lambda gates: next(iter(judge(gates).values())))
        run.history[-1]["judged"] = dict(judge(run.best_gates()))
    gates = run.best_gates()
    with torch.no_grad():
        valid_loss = float(space.loss(valid.next(), gates))
    return SearchResult(
        space.genotype(gates), valid_loss, run.diagnostics.summary(method, space.blocks),
        run.diagnostics.trained, run.history, run.seconds, run.epoch, run.step, run.cpu_seconds,
    )  # fmt: skip
