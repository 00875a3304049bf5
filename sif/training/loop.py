"""Training of a network from scratch, for any space: Adam, early stopping on validation.

`train` receives a train stream and a function that measures the validation part, never the test
part. It keeps the best weights by validation. `train_again` repeats as many steps, on more rows.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from sif.core.space import Batch
from sif.core.stream import Checkpointer, Stream
from sif.errors import BudgetError, DivergedError, NotNumberError
from sif.tracking import Tracker
from sif.training.apart import RowsApart
from sif.training.optim import MakeOptimizer, Schedule, adam, constant, set_rate, settled
from sif.utils.device import never
from sif.utils.ranks import sharing

Metrics = dict[str, float]
Ending = Callable[[Callable[[], dict[str, Any]]], None]
"""Receives a function that gives the state of a finished loop."""


def unheard(state: Callable[[], dict[str, Any]]) -> None:
    """Ignores its arguments."""


@dataclass(frozen=True)
class TrainSettings:
    """Numbers of the loop.

    Attributes:
        epochs: Passes over the train part, at most.
        lr: Step size.
        metric: Validation metric that decides.
        higher_is_better: Its direction.
        evaluate_every: Epochs between validations.
        patience: Validations without a better metric before it stops.
        make_optimizer: Adam, or another such as `RowAdam` where batches have rows of their own.
        schedule: Factor of `lr` in each epoch.
        max_norm: Bound on the gradient's norm; None: none.
        out_of_time: Asked after every epoch; once it says so, that epoch was the last.
        steps: Steps of an epoch, out of those of a pass; a pilot takes few of them.
        apart: Tables of whose rows each of several processes trains some; None: there are none.
    """

    epochs: int
    lr: float
    metric: str
    higher_is_better: bool
    evaluate_every: int = 1
    patience: int = 10
    make_optimizer: MakeOptimizer = adam
    schedule: Schedule = constant
    max_norm: float | None = None
    out_of_time: Callable[[], bool] = never
    steps: Callable[[int], Iterable[Any]] = range
    apart: RowsApart | None = None

    def settling(self, after: int, epochs: int) -> TrainSettings:
        """The same for other epochs, after some of which the step size falls to nothing."""
        schedule = settled(self.schedule, self.epochs, after)
        return replace(self, epochs=epochs, schedule=schedule)


@dataclass(frozen=True, eq=False)
class TrainResult:
    """The result of a training; the network holds the best weights.

    Attributes:
        valid: Validation metrics of the best weights.
        best_epoch: Epoch of the best weights.
        epochs: Epochs run.
        history: One entry per validation: "epoch", "seconds", "loss" and the metrics.
        seconds: Wall time, over all sittings.
        steps: Weight steps up to the best epoch.
    """

    valid: Metrics
    best_epoch: int
    epochs: int
    history: list[dict[str, float]]
    seconds: float
    steps: int = 0


class _Training:
    """State of a running training."""

    def __init__(self, network: nn.Module, stream: Stream, settings: TrainSettings) -> None:
        self.network, self.stream, self.settings = network, stream, settings
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.optimizer = settings.make_optimizer(self.parameters, settings.lr)
        self.epoch = self.best_epoch = self.stale = 0
        self.best: dict[str, Tensor] = copy.deepcopy(network.state_dict())
        self.valid: Metrics = {}
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0
        self.stopped = False

    def run_epoch(self, objective: Callable[[Batch], Tensor], steps: int) -> float:
        """The mean loss of the steps of an epoch, of which the settings may take fewer."""
        losses, apart = [], self.settings.apart
        # Machines that compute together may round differently.
        sharing().align(*(self.parameters if apart is None else apart.shared(self.parameters)))
        factor = self.settings.schedule(self.epoch, self.settings.epochs)
        set_rate(self.optimizer, factor * self.settings.lr)
        for _ in self.settings.steps(steps):
            self.optimizer.zero_grad(set_to_none=True)
            loss = objective(self.stream.next())
            loss.backward()
            if self.settings.max_norm is not None:
                nn.utils.clip_grad_norm_(self.parameters, self.settings.max_norm)
            self.optimizer.step()
            losses.append(loss.detach())
        self.epoch += 1
        self.stopped = self.epoch < self.settings.epochs and self.settings.out_of_time()
        return float(torch.stack(losses).mean())

    def gather(self) -> None:
        """Makes the weights those of all processes."""
        if self.settings.apart is not None:
            self.settings.apart.gather()

    def judge(self, valid: Metrics) -> None:
        metric, sign = self.settings.metric, 1 if self.settings.higher_is_better else -1
        former = self.valid.get(metric, math.nan)  # of which even the first is better
        if math.isnan(former) or sign * valid[metric] > sign * former:
            self.valid, self.best_epoch, self.stale = valid, self.epoch, 0
            self.best = copy.deepcopy(self.network.state_dict())
        else:
            self.stale += 1

    @property
    def finished(self) -> bool:
        over = self.epoch >= self.settings.epochs or self.stale >= self.settings.patience
        return over or self.stopped

    @property
    def is_due(self) -> bool:
        """True if validation follows this epoch."""
        last = self.epoch == self.settings.epochs or self.stopped
        return last or self.epoch % self.settings.evaluate_every == 0

    def state(self) -> dict[str, Any]:
        if self.settings.apart is not None:
            self.settings.apart.gather(self.optimizer)
        return {
            "network": self.network.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "stream": self.stream.state_dict(),
            "progress": [self.epoch, self.best_epoch, self.stale],
            "valid": self.valid,
            "history": self.history,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.best = state["best"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.stream.load_state_dict(state["stream"])
        self.epoch, self.best_epoch, self.stale = state["progress"]
        self.valid, self.history, self.seconds = state["valid"], state["history"], state["seconds"]


def train(
    network: nn.Module,
    objective: Callable[[Batch], Tensor],
    stream: Stream,
    evaluate: Callable[[], Metrics],
    settings: TrainSettings,
    tracker: Tracker,
    checkpointer: Checkpointer,
    on_epoch: Callable[[int, Metrics], None] = lambda epoch, metrics: None,
    begin: Callable[[int], None] = lambda done: None,
    on_end: Ending = unheard,
) -> TrainResult:
    """Trains until validation stops improving; leaves the best weights in the network.

    Args:
        network: Its trainable parameters are optimized.
        objective: Scalar to minimize on a batch, regularizer included.
        stream: Endless train batches.
        evaluate: Metrics of the network as it stands, on the validation part.
        settings: Numbers of the loop.
        tracker: Receives loss and metrics at every validation.
        checkpointer: Keeps the loop's state.
        on_epoch: Called with epoch and metrics at every validation, for progress display.
        begin: Called with the number of epochs done before each, for schedules of the network's.
        on_end: Gets a function that gives the last state, before the best weights replace it.

    Returns:
        The best validation metrics and how they came about.

    Raises:
        DivergedError: The training diverged.
    """
    run = _Training(network, stream, settings)
    saved = checkpointer.restore()
    if saved is not None:
        run.restore(saved)
    while not run.finished:
        start = time.perf_counter()
        begin(run.epoch)
        loss = run.run_epoch(objective, stream.steps_per_pass)
        if not math.isfinite(loss):
            raise _diverged(run, "loss", loss)
        due = run.is_due
        metrics = _validated(run, evaluate) if due else {}
        run.seconds += time.perf_counter() - start
        if due:
            run.judge(metrics)
            entry = {"seconds": run.seconds, "loss": loss, **metrics}
            logged = {f"valid.{name}": value for name, value in metrics.items()}
            run.history.append({"epoch": run.epoch, **entry})
            tracker.log({"seconds": run.seconds, "loss": loss, **logged}, run.epoch)
            on_epoch(run.epoch, run.valid)
            checkpointer.offer(run.state)
    if not math.isfinite(run.valid[settings.metric]):
        raise _diverged(run, f"validation's {settings.metric}", run.valid[settings.metric])
    on_end(run.state)
    network.load_state_dict(run.best)
    network.zero_grad(set_to_none=True)  # which would stay as long as the network
    return TrainResult(
        run.valid, run.best_epoch, run.epoch, run.history, run.seconds,
        run.best_epoch * stream.steps_per_pass,
    )  # fmt: skip


def _validated(run: _Training, evaluate: Callable[[], Metrics]) -> Metrics:
    """Metrics of the network as it stands, on all processes."""
    run.gather()
    try:
        return evaluate()
    except NotNumberError:
        raise _diverged(run, "validation", math.nan) from None


def train_again(
    network: nn.Module,
    objective: Callable[[Batch], Tensor],
    stream: Stream,
    steps: Sequence[int],
    settings: TrainSettings,
    tracker: Tracker,
    checkpointer: Checkpointer,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> float:
    """Trains a number of steps that is known, without validation; leaves the last weights.

    Args:
        network: Its trainable parameters are optimized.
        objective: Scalar to minimize on a batch, regularizer included.
        stream: Endless train batches.
        steps: Of each epoch.
        settings: Of the loop; `out_of_time` gives the training up.
        tracker: Receives the loss of every epoch.
        checkpointer: Keeps the loop's state.
        on_epoch: Called with epoch and loss, for progress display.

    Returns:
        Seconds, over all sittings.

    Raises:
        DivergedError: The training diverged.
        BudgetError: It ran out of time before its last step.
    """
    run = _Training(network, stream, settings)
    saved = checkpointer.restore()
    if saved is not None:
        run.restore(saved)
    for number in steps[run.epoch :]:
        if run.stopped:
            raise BudgetError(f"expected time for {len(steps)} epochs, found it for {run.epoch}")
        start = time.perf_counter()
        loss = run.run_epoch(objective, number)
        if not math.isfinite(loss):
            raise _diverged(run, "loss", loss)
        run.seconds += time.perf_counter() - start
        tracker.log({"seconds": run.seconds, "loss": loss}, run.epoch)
        on_epoch(run.epoch, loss)
        checkpointer.offer(run.state)
    run.gather()
    network.zero_grad(set_to_none=True)  # which would stay as long as the network
    return run.seconds


def spread(steps: int, epochs: int) -> list[int]:
    """Steps in even epochs: (epochs,), whose sum is `steps`, at least one in each."""
    ends = [steps * number // epochs for number in range(epochs + 1)]
    return [end - begin for begin, end in pairwise(ends)]


def _diverged(run: _Training, what: str, found: float) -> DivergedError:
    return DivergedError(
        f"training diverged in epoch {run.epoch}: {what}: expected a finite number, "
        f"found {found}; lower train.lr={run.settings.lr:g}"
    )
