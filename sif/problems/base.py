"""A problem: a space on train and validation data that is searched, trained and tested.

Interactions, images and text are three problems. A fourth derives from `Problem` and inherits
search, checks and resumable training.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import torch
from torch import nn

from sif.core.gates import Gates
from sif.core.genotype import Genotype
from sif.core.pieces import Pieces
from sif.core.selections import Selections
from sif.core.stream import Checkpointer, Stream
from sif.errors import ConfigError
from sif.evaluation.evaluate import Evaluation
from sif.evaluation.metrics import higher_is_better, merit
from sif.methods.configuration import configured
from sif.search.loop import SearchResult
from sif.search.narrowed import judging, narrowed
from sif.search.objectives import Objectives, measured
from sif.search.run import MethodRun, lowering
from sif.tracking import NullTracker, Tracker
from sif.training.loop import TrainResult, TrainSettings
from sif.training.optim import MakeOptimizer, Schedule
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import Runtime, free_memory, reset_peak_memory
from sif.utils.random import generator

SEARCHED = "searched"
"""Name of the design of the job's own search, in every job."""
TRAINING = "training"
"""Run of an entrant's training in trackers, in which those of several strengths are nested."""

ADAM = 16
"""Bytes of a weight in training: itself, its gradient, two moments."""
State = dict[str, Any]
Progress = Callable[[int, Any], None]
"""Receives the number of an epoch and a text on it."""

Design = TypeVar("Design")
Network = TypeVar("Network", bound=nn.Module)


def quiet(epoch: int, entry: Any) -> None:
    """No progress."""


class StageStore:
    """Stores finished stages, so that a killed job can resume; this base class stores none."""

    def run(self, name: str, work: Callable[[Any], State], shared: bool = False) -> State:
        """The result of named work.

        Args:
            name: Of the work.
            work: Gets a `Checkpointer` of its loop.
            shared: Whether all processes of a job do it together, each with some of the users
                (`sif.utils.ranks`); otherwise the first does.
        """
        return work(NoCheckpoint())

    def trim(self, name: str, key: str) -> None:
        """Drops one entry of a result."""


class Reporter:
    """Reports progress to people; this base class reports nothing."""

    def line(self, text: str) -> None:
        """Reports a remark."""

    def progress(self, stage: str, done: int, total: int, text: str) -> None:
        """Reports the progress of a stage."""


@dataclass(frozen=True)
class Session:
    """The places where work stores results, reports and records; by default none.

    Attributes:
        stages: Store of finished stages.
        console: Receives reports.
        tracker: Records; every training logs into a child.
    """

    stages: StageStore = field(default_factory=StageStore)
    console: Reporter = field(default_factory=Reporter)
    tracker: Tracker = field(default_factory=NullTracker)


@dataclass(frozen=True, eq=False)
class Trained(Generic[Network]):
    """A trained network.

    Attributes:
        network: With its best weights by validation.
        result: Result of its training.
        numbers: Numbers of the network: choices of validation, or "parameters" and other
            sizes.
        refit: "steps" and "seconds" of the second fit that the network is of, while `result` is of
            the first; empty: there was none.
        tried: Designs or settings among which validation chose: the "name" of each, its "value" of
            the metric that decides, "seconds" from the beginning, and the number of "users" where
            some alone judged it.
        features: The trial of features, as `sif.problems.feature_trial` has it; empty: the data
            have none for such a model.
    """

    network: Network
    result: TrainResult
    numbers: Mapping[str, float] = field(default_factory=dict)
    refit: Mapping[str, float] = field(default_factory=dict)
    tried: Sequence[Mapping[str, Any]] = ()
    features: Mapping[str, Any] = field(default_factory=dict)

    def state(self) -> State:
        """The training as a stage stores it."""
        weights = {"network": self.network.state_dict(), "numbers": dict(self.numbers)}
        tried = {"tried": list(self.tried)} if self.tried else {}
        features = {"features": dict(self.features)} if self.features else {}
        return weights | tried | features | vars(self.result)

    @classmethod
    def restored(cls, network: Network, state: State) -> Trained[Network]:
        """A training that a stage stored.

        Args:
            network: Untrained; gets the weights.
            state: From `state`.
        """
        network.load_state_dict(state["network"])
        result = TrainResult(**{entry.name: state[entry.name] for entry in fields(TrainResult)})
        tried, features = state.get("tried", ()), state.get("features", {})
        return cls(network, result, state["numbers"], tried=tried, features=features)


AnyProblem = TypeVar("AnyProblem")


@dataclass(frozen=True, eq=False)
class Sampled(Generic[AnyProblem]):
    """A problem with few of its rows, to measure how long the whole one takes.

    Attributes:
        problem: On few rows; a step of it takes as long as one of the whole.
        training: How many times as long an epoch of the whole takes.
        validation: How many times as long a validation within a training of the whole takes.
        test: How many times as long as that validation of few rows a test of the whole takes.
    """

    problem: AnyProblem
    training: float = 1.0
    validation: float = 1.0
    test: float = 1.0


class Problem(ABC, Generic[Design, Network]):
    """A space on train and validation data, without the test part.

    Attributes:
        metric: Of validation and test; the one that decides.
        shown: The metric that people are shown on the way, maybe another form of it.
        format: Format of its values, such as ".4f".
        unit: Behind them, such as " %".
        judged: Name of the error by which a search judges a selection.
        memory_settings: Those of `search` and `train` that memory depends on.
        shares: Whether searches and fits are split among the processes of a job.
        config: Of the job, with the sections `search` and `train`.
        runtime: Device, dtype, seed.
    """

    metric: str
    shown: str
    format: str
    unit: str = ""
    judged: str
    memory_settings: ClassVar[tuple[str, ...]]
    shares: ClassVar[bool] = False
    config: Any
    runtime: Runtime

    @abstractmethod
    def space(self, mixed: bool = False) -> Any:
        """A supernet with fresh weights, the same for all methods.

        Args:
            mixed: Whether mixtures of all operations will run.
        """

    @abstractmethod
    def streams(self) -> tuple[Stream, Stream]:
        """Fresh batches of the search's weights and of alpha, always the same."""

    @abstractmethod
    def method_run(self) -> MethodRun:
        """The run that methods search with, see `run_with`."""

    @abstractmethod
    def judge(self, space: Any, gates: Gates) -> float:
        """Validation error of exactly a selection with the weights of its search."""

    @abstractmethod
    def design(self, genotype: Genotype) -> Design:
        """The design that is trained for a genotype."""

    @abstractmethod
    def expression(self, design: Design) -> str:
        """A design on one line, for people."""

    @abstractmethod
    def network(self, design: Design) -> Network:
        """An untrained network of a design, the same first weights for equal designs."""

    @abstractmethod
    def train(
        self, design: Design, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Progress = quiet,
    ) -> Trained[Network]:  # fmt: skip
        """Trains a design from scratch; validation chooses the epoch.

        Args:
            design: Of the network.
            tracker: Receives loss and metrics at every validation.
            checkpointer: Keeps the loop's state.
            on_epoch: Called with the epoch and the best metrics so far.

        Raises:
            DivergedError: The training diverged.
        """

    def refuses(self, genotype: Genotype) -> str:
        """Why a found genotype is not worth a training; empty: it is."""
        return ""

    def trained_design(self, design: Design, trained: Trained[Network]) -> Design:
        """The design with what its training has chosen beside the weights."""
        return design

    @abstractmethod
    def test(self, network: Network, part: Any) -> Evaluation:
        """Evaluates a finished network on a part that no earlier step has seen."""

    @cached_property
    def operations(self) -> Mapping[str, list[str]]:
        """Block of the space to names of its operations."""
        return {b.name: list(b.operations) for b in self.method_run().make_space(False).blocks}

    def run_with(
        self, make_optimizer: MakeOptimizer, schedule: Schedule, **further: Any
    ) -> MethodRun:
        """The run that methods search this problem with.

        Args:
            make_optimizer: Of the weights.
            schedule: Of their step size.
            further: Of `MethodRun`.
        """
        make: Callable[[bool], Any] = self.objectives.priced(self.space)
        judge: Callable[[Any, Gates], float] = self.judge
        if choices := self.config.search.choices:
            make, judge = narrowed(make, choices), judging(judge)
        return MethodRun(
            make, self.streams, judge, self.judged, self.config.search,
            make_optimizer, schedule, self.runtime, methods=self.config.method_values(),
            objectives=self.objectives, **further,
        )  # fmt: skip

    def pieces(self) -> Pieces | None:
        """The pieces of the networks that trainings give; None: they are no sums of pieces."""
        return None

    @cached_property
    def objectives(self) -> Objectives:
        """The objectives of the search beside the error.

        Raises:
            ConfigError: Objectives that nobody has, or networks that are no sums of pieces.
        """
        asked = self.config.search.objectives
        pieces = self.pieces() if asked else None
        space = getattr(self.config, "space", "this one")
        return measured(asked, pieces, self.runtime, str(space))

    def loop_settings(self, **further: Any) -> TrainSettings:
        """Settings of the loop: those of the section `train` of the same names, and `further`."""
        section, names = self.config.train, [entry.name for entry in fields(TrainSettings)]
        known = {"patience": section.epochs, **dict(section)}
        values = {name: known[name] for name in names if name in known}
        metric = self.shown
        decides = {"metric": metric, "higher_is_better": higher_is_better(metric)}
        decides |= {"out_of_time": self.runtime.out_of_time, "steps": self.runtime.steps}
        return TrainSettings(**{**values, **decides, **further})

    def changed(self, **attributes: Any) -> Self:
        """The same problem on the same data, with other attributes, such as `config`."""
        other = copy.copy(self)
        if "config" in attributes:
            vars(other).pop("objectives", None)
        vars(other).update(attributes)
        return other

    def at_pace(self, **changed: Any) -> Self:
        """The same problem with other entries of `runtime`, such as the end of its loops."""
        return self.changed(runtime=replace(self.runtime, **changed))

    def sampled(self) -> Sampled[Self]:
        """The problem with few rows, for pilots."""
        return Sampled(self)

    def memory_needs(self) -> Mapping[str, float]:
        """Bytes that are needed at least, by the setting that they depend on most."""
        return {}

    def refuse_too_large(self) -> None:
        """Raises ConfigError for settings that cannot fit into memory, before any is allocated."""
        free = free_memory(self.runtime.device)
        for name, need in self.memory_needs().items():
            if need > free:
                section, _, key = name.partition(".")
                value = getattr(getattr(self.config, section), key)
                raise ConfigError(
                    f"{name}: expected a value that fits into {free / 2**30:.1f} GB of free "
                    f"memory, found {value}, which takes {need / 2**30:,.1f} GB at least"
                )

    def drawn(self, number: int) -> Design:
        """A uniformly drawn design of the searched space, by its number."""
        space = self.method_run().make_space(False)
        draws = generator(self.runtime, "pilot", number, device=torch.device("cpu"))
        gates = Selections(space.blocks).drawn(draws).to_gates(space.blocks)
        return self.design(space.genotype(gates))

    def resting_share(self, method: str) -> float:
        """Share of a search with a method in which alpha rests."""
        return configured(method, self.config.method_values()).settings.resting_share

    def enough_memory(self, section: Literal["search", "train"]) -> AbstractContextManager[None]:
        """A block whose failing allocations say which settings of a section to lower."""
        settings = getattr(self.config, section)
        return lowering(self.runtime, section, settings, self.memory_settings)

    def search(
        self, tracker: Tracker, checkpointer: Checkpointer, on_epoch: Progress = quiet,
        method: str | None = None,
    ) -> SearchResult:  # fmt: skip
        """Searches; then `sif.utils.device.peak_memory_mb` gives the peak of the search alone.

        Args:
            tracker: Receives the losses of every epoch.
            checkpointer: Keeps the loop's state.
            on_epoch: Called with the epoch's number and history entry.
            method: Name; None: the configured one.

        Raises:
            DivergedError: The search diverged.
            ConfigError: Memory was too small, or the method cannot search here.
        """
        reset_peak_memory(self.runtime)
        with self.enough_memory("search"):
            name = method or self.config.method
            return self.method_run().run(name, tracker, checkpointer, on_epoch)

    def check_method(self, name: str) -> None:
        """Raises ConfigError for a method that cannot search here, or for lack of memory."""
        self.refuse_too_large()
        with self.enough_memory("search"):
            if self.config.search.choices:
                self.method_run().make_space(False)  # which refuses what it does not have
            self.method_run().check(name)

    def fit(self, name: str, design: Design, session: Session) -> Trained[Network]:
        """Trains a design as a job does, resumable after an interruption.

        Args:
            name: Of the design in the job, and of the stage.
            design: Of the network.
            session: Stores, reports and records the training.

        Raises:
            DivergedError: The training diverged.
            ConfigError: Memory was too small.
        """
        total, fresh = self.config.train.epochs, list[Trained[Network]]()

        def show(epoch: int, metrics: Mapping[str, float]) -> None:
            session.console.progress(
                f"train {name}", epoch, total, f"best {self.describe(metrics)}"
            )

        def work(checkpointer: Checkpointer) -> State:
            child = session.tracker.child(f"train-{name}", name, TRAINING)
            with self.enough_memory("train"):
                trained = self.train(design, child, checkpointer, show)
            child.describe(f"training from scratch: {self.describe(trained.result.valid)}")
            child.close()
            fresh.append(trained)
            session.console.line(self.summary(name, trained))
            return trained.state()

        state = session.stages.run(f"train-{name}", work, self.shares)
        return fresh[0] if fresh else Trained.restored(self.network(design), state)

    def summary(self, name: str, trained: Trained[Network]) -> str:
        """A training on one line."""
        result = trained.result
        return (
            f"{name}: {trained.numbers['parameters']:,} parameters, {self.describe(result.valid)} "
            f"after {result.best_epoch} epochs ({result.seconds:.1f} s)"
        )

    def describe(self, valid: Mapping[str, float]) -> str:
        """Validation's metric for people, such as "valid error 3.20 %"."""
        return f"valid {self.shown} {valid[self.shown]:{self.format}}{self.unit}"

    def merit(self, valid: Mapping[str, float]) -> float:
        """The metric that decides, turned so that more is better."""
        return merit(self.metric, valid[self.metric])

    def prefers(self, one: Trained[Network], other: Trained[Network]) -> bool:
        """True if validation prefers the first of two networks."""
        return self.merit(one.result.valid) > self.merit(other.result.valid)
