"""The search loop, for any space and any method.

It alternates architecture steps on validation batches with weight steps on train batches, keeps the
diagnostics that tell a decided search from a coin toss, and can stop and go on at any epoch. It
receives a train and a validation stream; the test part never comes near it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from sif.diagnostics import Diagnostics
from sif.errors import DivergedError
from sif.genotype import Genotype
from sif.methods.base import ArchReport, Choosing, Learning, Method
from sif.optimisers import Optimiser, Schedule, adam, constant, set_rate
from sif.prox import Batch, Gates, weight_step
from sif.spaces.base import Space
from sif.streams import Stream
from sif.tracking import Tracker

Judge = Callable[[Gates], Mapping[str, float]]
"""Numbers about a selection, the first of which decides."""


class Checkpointer(Protocol):
    """Keeps the state of one loop."""

    def restore(self) -> dict[str, Any] | None:
        """The last saved state, or None at the first start."""
        ...

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        """Saves if it is time to."""
        ...


@dataclass(frozen=True)
class SearchSettings:
    """Numbers of the loop.

    Attributes:
        epochs: Passes over the train part, or stretches of `steps_per_epoch`.
        lr: Step size of the weights.
        arch_every: Weight steps per architecture step.
        arch_start: Weight steps before the first architecture step.
        max_norm: Bound on the weights' gradient norm; None: none.
        optimiser: Of the weights.
        schedule: Factor of `lr` in each epoch.
        steps_per_epoch: Weight steps; None: one pass.
    """

    epochs: int
    lr: float
    arch_every: int = 1
    arch_start: int = 0
    max_norm: float | None = None
    optimiser: Optimiser = adam
    schedule: Schedule = constant
    steps_per_epoch: int | None = None


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found.

    Attributes:
        genotype: The architecture.
        valid_loss: Loss of exactly that architecture, with the search's weights, on one validation
            batch.
        diagnostics: `Diagnostics.summary`.
        trained: As in `Diagnostics`.
        history: One entry per epoch: "seconds", "loss", "valid_loss", what a judge said of the
            selection ("judged"), and nested lists "alpha" and "scores" (kind to block to rows).
        seconds: Wall time, over all sittings.
        epochs: Epochs run.
        steps: Weight steps taken.
    """

    genotype: Genotype
    valid_loss: float
    diagnostics: dict[str, float]
    trained: dict[str, Tensor]
    history: list[dict[str, Any]]
    seconds: float
    epochs: int
    steps: int


class _Search:
    """State of a running search."""

    def __init__(
        self, space: Space, method: Method, train: Stream, valid: Stream, settings: SearchSettings
    ) -> None:
        self.space, self.method = space, method
        self.train, self.valid, self.settings = train, valid, settings
        self.optimizer = settings.optimiser(space.weight_parameters(), settings.lr)
        self.diagnostics = Diagnostics()
        self.history: list[dict[str, Any]] = []
        self.epoch = self.step = 0
        self.seconds = 0.0

    def run_epoch(self) -> None:
        losses: list[Tensor] = []
        reports: list[ArchReport] = []
        start = time.perf_counter()
        factor = self.settings.schedule(self.epoch, self.settings.epochs)
        set_rate(self.optimizer, factor * self.settings.lr)
        for _ in range(self.settings.steps_per_epoch or self.train.steps_per_pass):
            batch = self.train.next()
            due = self.step >= self.settings.arch_start
            due = due and self.step % self.settings.arch_every == 0
            if due and isinstance(self.method, Learning):
                reports.append(self._arch_step(self.method, batch))
            gates = self.method.weight_gates(self.step)
            self.diagnostics.count(gates)
            max_norm = self.settings.max_norm
            losses.append(weight_step(self.space, batch, gates, self.optimizer, max_norm))
            self.step += 1
        self.epoch += 1
        self.seconds += time.perf_counter() - start
        self.history.append(self._entry(losses, reports))

    def _arch_step(self, method: Learning, batch: Batch) -> ArchReport:
        before = method.selection()
        report = method.arch_step(self.space, batch, self.valid.next())
        _refuse(report, self.epoch + 1)
        self.diagnostics.compare(before, method, self.space.blocks)
        return report

    def choose(self, error: Callable[[Gates], float]) -> None:
        """Has a method choose that does so at the end, on the search's clock."""
        if not isinstance(self.method, Choosing):
            return
        start = time.perf_counter()
        self.method.choose(error)
        self.seconds += time.perf_counter() - start
        chosen = {n: list(c) for n, c in self.method.selection().selection().items()}
        self.history.append({**self.history[-1], "seconds": self.seconds, "selection": chosen})

    def _entry(self, losses: list[Tensor], reports: list[ArchReport]) -> dict[str, Any]:
        scores: dict[str, dict[str, Any]] = {}
        for kind in reports[0].scores if reports else ():
            blocks = reports[0].scores[kind]
            scores[kind] = {
                name: torch.stack([r.scores[kind][name] for r in reports]).mean(0).tolist()
                for name in blocks
            }
        valid = [r.loss for r in reports]
        return {
            "seconds": self.seconds,
            "loss": float(torch.stack(losses).mean()),
            "valid_loss": sum(valid) / len(valid) if valid else None,
            "alpha": {name: a.tolist() for name, a in self.method.alpha().items()},
            "selection": {n: list(c) for n, c in self.method.selection().selection().items()},
            "scores": scores,
            "judged": {},
        }

    def state(self) -> dict[str, Any]:
        return {
            "space": self.space.module().state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "train": self.train.state_dict(),
            "valid": self.valid.state_dict(),
            "diagnostics": vars(self.diagnostics),
            "history": self.history,
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.space.module().load_state_dict(state["space"])
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.train.load_state_dict(state["train"])
        self.valid.load_state_dict(state["valid"])
        self.diagnostics = Diagnostics(**state["diagnostics"])
        self.history = state["history"]
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]


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
    """Searches from the start, or from where the checkpointer left off.

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
        The found architecture and how it came about.

    Raises:
        DivergedError: The search diverged.
    """
    run = _Search(space, method, train, valid, settings)
    saved = checkpointer.restore()
    if saved is not None:
        run.restore(saved)
    while run.epoch < settings.epochs:
        run.run_epoch()
        entry = run.history[-1]
        _refuse_divergence(entry, run.epoch)
        entry["judged"] = dict(judge(method.selection())) if judge else {}
        tracker.log(_numbers(entry, space), run.epoch)
        on_epoch(run.epoch, entry)
        checkpointer.offer(run.state)
    if judge is not None and isinstance(method, Choosing):
        run.choose(lambda gates: next(iter(judge(gates).values())))
        run.history[-1]["judged"] = dict(judge(method.selection()))
    gates = method.selection()
    with torch.no_grad():
        valid_loss = float(space.loss(valid.next(), gates))
    return SearchResult(
        space.genotype(gates), valid_loss, run.diagnostics.summary(method, space.blocks),
        run.diagnostics.trained, run.history, run.seconds, run.epoch, run.step,
    )  # fmt: skip


def _refuse(report: ArchReport, epoch: int) -> None:
    """Before alpha is read: with numbers that are not finite there is no selection."""
    tables = [table for blocks in report.scores.values() for table in blocks.values()]
    if not math.isfinite(report.loss) or any(bool(t.isnan().any()) for t in tables):
        raise DivergedError(
            f"search diverged in epoch {epoch}: an architecture step: expected finite numbers, "
            f"found loss {report.loss} and slopes that are none; lower search.lr"
        )


def _refuse_divergence(entry: Mapping[str, Any], epoch: int) -> None:
    for name in ("loss", "valid_loss"):
        if entry[name] is not None and not math.isfinite(entry[name]):
            raise DivergedError(
                f"search diverged in epoch {epoch}: {name}: expected a finite number, "
                f"found {entry[name]}; lower search.lr"
            )


def _numbers(entry: Mapping[str, Any], space: Space) -> dict[str, float]:
    """Scalars of a history entry under flat names."""
    numbers = {k: entry[k] for k in ("loss", "valid_loss", "seconds") if entry[k] is not None}
    numbers |= entry["judged"]
    for block in space.blocks:
        rows = entry["alpha"][block.name]
        for edge, row in enumerate(rows):
            where = block.name if len(rows) == 1 else f"{block.name}.{edge}"
            for name, value in zip(block.operations, row, strict=True):
                numbers[f"alpha.{where}.{_plain(name)}"] = value
            for kind, blocks in entry["scores"].items():
                for name, value in zip(block.operations, blocks[block.name][edge], strict=True):
                    numbers[f"{kind}.{where}.{_plain(name)}"] = value
    return numbers


def _plain(name: str) -> str:
    """An operation's name in characters that every store takes."""
    signed = "pos_" + name[1:] if name.startswith("+") else name
    return signed.replace("+", "_and_").replace("~", "sgn_")
