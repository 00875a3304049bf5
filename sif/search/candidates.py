"""The loop of samplers: every selection that one asks for is trained alone, from fresh weights.

A candidate is a search in which nothing is searched (`sif.methods.fixed`): the loop, the optimizer,
the batches and the judge are those of the methods that share weights, and so is the space, of which
each candidate gets a new one with the same first weights. Others may train candidates that a method
knows ahead; it is told of them in its own order.

A method may ask for a short training and later for more of it (`AsksLength`): that goes on from
where it stopped. Where a method has nothing further to ask for before the budget is used, as in a
space of five selections, the best candidate is trained on for the rest of it.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from sif.core.gates import Block, Selection
from sif.core.genotype import Genotype
from sif.core.method import AsksAhead, AsksLength, AskTell, TakesObjectives, TakesSeconds
from sif.core.space import Space
from sif.core.stream import Checkpointer
from sif.errors import BudgetError, DivergedError
from sif.search.candidate import (
    Candidate,
    EndKeeper,
    Judged,
    State,
    Streams,
    Trainer,
    train_apart,
    train_candidate,
)
from sif.search.front import ERROR, picked, shortfalls
from sif.search.history import numbers, rows_of
from sif.search.loop import SearchResult, SearchSettings
from sif.tracking import Tracker
from sif.utils.calls import CPU, HERE, Call, Calls
from sif.utils.device import never
from sif.utils.ranks import sharing

REPEATS = 100
"""Times in a row that a sampler may ask for what it has been told before it counts as finished."""


@dataclass(frozen=True)
class SampleSettings:
    """Numbers of the loop.

    Attributes:
        candidate: Of the training of one candidate; its own budget is not read.
        continuous_lr: Adam step size of continuous architecture parameters.
        epochs: Of all trainings at most, further stretches of the best included; None: until
            another limit.
        seconds: CPU seconds: none is begun that at the mean cost so far would not fit, and none
            runs on beyond; None: no such limit.
        objectives: Beside the error, each with its bound, infinite where it has none; the judge
            measures them. With objectives the best is not trained on where a budget is left.
        pick: Which point of their front is returned, see `sif.search.front.check_pick`.
    """

    candidate: SearchSettings
    continuous_lr: float
    epochs: int | None = None
    seconds: float | None = None
    objectives: Mapping[str, float] = field(default_factory=dict)
    pick: str = ERROR


@dataclass
class _Best:
    """The best candidate so far, at its best moment.

    Attributes:
        selection: Of the candidate.
        number: Of the candidates that had been trained when it became the best.
        genotype: With the continuous parameters that it learned.
        valid_loss: As for a `SearchResult`.
        judged: What the judge said of it.
    """

    selection: Selection
    number: int
    genotype: Genotype
    valid_loss: float
    judged: dict[str, float]

    @property
    def error(self) -> float:
        return _error(self.judged)

    def state(self) -> State:
        lists, text = self.selection.to_lists(), self.genotype.to_json()
        return {**vars(self), "selection": lists, "genotype": text}

    @classmethod
    def of(cls, state: State) -> _Best:
        selection, genotype = Selection(state["selection"]), Genotype.from_json(state["genotype"])
        return cls(**{**state, "selection": selection, "genotype": genotype})


@dataclass(frozen=True)
class _Wanted:
    """A training that is due.

    Attributes:
        selection: Of the candidate.
        epochs: Length of the training in all, that of `before` included.
        before: Where it goes on; None: it begins.
        best: The best candidate, which goes on because the method has no further; None: the method
            asked for this training.
    """

    selection: Selection
    epochs: int
    before: State | None = None
    best: _Best | None = None

    @property
    def done(self) -> int:
        """Epochs of `before`."""
        return 0 if self.before is None else int(self.before["epoch"])

    @property
    def added(self) -> int:
        """Epochs that are still to be trained."""
        return self.epochs - self.done


class _Sampling:
    """State of a running loop; arguments as for `sample`."""

    def __init__(
        self, make_space: Callable[[], Space], method: AskTell, streams: Streams,
        settings: SampleSettings, judge: Judged, checkpointer: Checkpointer,
    ) -> None:  # fmt: skip
        self.trainer = Trainer(
            make_space, streams, judge, settings.continuous_lr, type(method).__name__
        )
        self.method, self.settings, self.checkpointer = method, settings, checkpointer
        self.history: list[dict[str, Any]] = []
        self.known: dict[Selection, tuple[float, float]] = {}  # with error and cost
        self.lengths: dict[Selection, int] = {}  # epochs that the known ones trained for
        self.ends: dict[Selection, State] = {}  # where those can go on that may be asked for again
        self.trained: dict[str, Tensor] = {}
        self.best: _Best | None = None
        self.pool: dict[Selection, _Best] = {}  # all that were judged, where several objectives do
        self.kept: State | None = None
        self.finished = False
        self.blocks: Sequence[Block] = ()
        self.epochs = self.steps = self.repeats = self.flips = 0
        self.seconds = self.cpu = 0.0

    _KEPT = ("history", "trained", "kept", "finished", "epochs", "steps", "repeats", "flips",
             "seconds", "cpu")  # fmt: skip

    def state(self, inner: State | None) -> State:
        return {
            **{name: getattr(self, name) for name in self._KEPT},
            "known": [[selection.to_lists(), *told] for selection, told in self.known.items()],
            "lengths": list(self.lengths.values()),
            "ends": [[selection.to_lists(), end] for selection, end in self.ends.items()],
            "best": self.best and self.best.state(),
            "pool": [one.state() for one in self.pool.values()],
            "method": self.method.state_dict(),
            "inner": inner,
        }

    def restore(self, state: State) -> None:
        for name in self._KEPT:
            setattr(self, name, state[name])
        self.known = {Selection(lists): (error, cost) for lists, error, cost in state["known"]}
        lengths = state.get("lengths", [self.whole] * len(self.known))  # none in earlier versions
        self.lengths = dict(zip(self.known, lengths, strict=True))
        self.ends = {Selection(lists): end for lists, end in state.get("ends", [])}
        self.best = state["best"] and _Best.of(state["best"])
        pool = map(_Best.of, state.get("pool", ()))  # none in earlier versions
        self.pool = {one.selection: one for one in pool}
        self.method.load_state_dict(state["method"])

    @property
    def limited(self) -> bool:
        """True if there is a budget that the method may leave unused."""
        return self.settings.epochs is not None or self.settings.seconds is not None

    @contextmanager
    def on_clock(self) -> Iterator[None]:
        """Counts the time of a block of statements."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu

    @property
    def whole(self) -> int:
        """Epochs of a candidate's whole training."""
        return self.settings.candidate.epochs

    def fits(self, epochs: int) -> bool:
        """True if so many more epochs fit."""
        limit = self.settings.seconds
        if self.epochs and self.settings.candidate.out_of_time():
            return False
        if epochs < 1:
            return False
        if limit is None or not self.epochs:
            return True
        return sharing().told(self.cpu + self.cpu / self.epochs * epochs <= limit)

    def cut(self, epochs: int) -> int:
        """So many epochs, or those that are left, if these are fewer."""
        if self.settings.epochs is None:
            return epochs
        return min(epochs, self.settings.epochs - self.epochs)

    @property
    def left(self) -> int:
        """Further candidates that fit, by their mean cost so far; whole ones or shorter."""
        done, limits = self.epochs // self.whole, [sys.maxsize]
        if self.settings.epochs is not None:
            limits.append(self.settings.epochs // self.whole - done)
        if self.settings.seconds is not None and self.cpu:
            limits.append(int((self.settings.seconds - self.cpu) * done / self.cpu))
        return max(min(limits), 1) * (self.whole // self._length())

    def loop(self, is_first: bool, wanted: _Wanted) -> SearchSettings:
        """Settings of a candidate's training.

        Args:
            is_first: Of all: a search has at least one candidate.
            wanted: The training.
        """
        loop = self.settings.candidate
        if wanted.best is not None:
            loop = replace(loop, epochs=wanted.done + self.whole)
        loop = replace(loop, stop_after=wanted.epochs)
        if is_first:
            loop = replace(loop, out_of_time=never)
        if self.settings.seconds is not None:
            loop = replace(loop, seconds=max(self.settings.seconds - self.cpu, 1e-9))
        return loop

    def wanted(self) -> _Wanted | None:
        """The next training; that of the best, if the method has no further; None: none fits."""
        while self.fits(self.cut(1)):
            selection = self._asked()
            if selection is None:
                return self._further()
            if (wanted := self.asked(selection)) is not None:
                self.repeats = 0
                return wanted if self.fits(wanted.added) else None
            self.repeats += 1
            with self.on_clock():
                if selection in self.pool:
                    self._measure(selection, self.pool[selection].judged)
                self.method.tell(selection, *self.known[selection])
        return None

    def asked(self, selection: Selection) -> _Wanted | None:
        """The training of a selection that the method asks for; None: it has had as much."""
        length = self._length()
        if length <= self.lengths.get(selection, 0):
            return None
        return self._stretch(_Wanted(selection, length, self.ends.get(selection)))

    def _asked(self) -> Selection | None:
        """The selection that the method asks for; None: it has no further."""
        if self.finished or self.repeats >= REPEATS:
            return None
        with self.on_clock():
            return self.method.ask()

    def _length(self) -> int:
        """Epochs in all of the training that the method asks for."""
        if not isinstance(self.method, AsksLength):
            return self.whole
        with self.on_clock():
            return min(max(1, round(self.method.share() * self.whole)), self.whole)

    def _further(self) -> _Wanted | None:
        """The training of the best candidate for as long again, where a budget is left."""
        self.finished = True
        if self.settings.objectives or not self.limited or self.best is None or self.kept is None:
            return None
        length = self.kept["epoch"] + self.whole
        wanted = self._stretch(_Wanted(self.best.selection, length, self.kept, self.best))
        return wanted if self.fits(wanted.added) else None

    def _stretch(self, wanted: _Wanted) -> _Wanted:
        """The training, cut to the epochs that the budget leaves."""
        return replace(wanted, epochs=wanted.done + self.cut(wanted.added))

    @property
    def keeps(self) -> bool:
        """True if a training may go on after its end, so that its last state is kept."""
        return self.limited or isinstance(self.method, AsksLength)

    def take(self, wanted: _Wanted, trained: Candidate) -> None:
        """Tells the method of a candidate, and keeps it if it is the best so far."""
        selection, found, judged = wanted.selection, trained.found, trained.judged
        error, cost = _error(judged), selection.cost(self.blocks)
        self.known[selection], self.lengths[selection] = (error, cost), wanted.epochs
        with self.on_clock():
            if isinstance(self.method, TakesSeconds):
                self.method.took(selection, sharing().told(trained.cpu_seconds))
            self._measure(selection, judged)
            self.method.tell(selection, error, cost)
        self._keep_open(selection, trained.end)
        if found is None or error == math.inf:
            return  # an entry would have no numbers
        best = self.best
        if best is None or error < best.error:
            self.flips += best is not None and best.selection != selection
            number = len(self.known)
            best = _Best(selection, number, found.genotype, found.valid_loss, dict(judged))
            self.best, self.kept = best, trained.end
        if self.settings.objectives:
            of_it = found.genotype, found.valid_loss, dict(judged)
            self.pool[selection] = _Best(selection, len(self.known), *of_it)
        self._enter(selection, best, found, judged)

    def _measure(self, selection: Selection, judged: Mapping[str, float]) -> None:
        """Tells the method of the objectives of a selection, where there are some."""
        bounds = self.settings.objectives
        if not bounds or not isinstance(self.method, TakesObjectives):
            return
        if judged:
            values = [judged[name] for name in bounds]
        else:  # it diverged: as bad as the worst that is known
            others = [one.judged for one in self.pool.values()] or [dict.fromkeys(bounds, 0.0)]
            values = [max(other[name] for other in others) for name in bounds]
        excess = shortfalls([[0.0, *values]], list(bounds.values()))[0]
        self.method.measured(selection, values, excess)

    def _keep_open(self, selection: Selection, end: State | None) -> None:
        """Keeps the ends of trainings that may go on, and no others."""
        if isinstance(self.method, AsksLength):
            ends = self.ends if end is None else {**self.ends, selection: end}
            open_ones = set(self.method.open())
            self.ends = {one: state for one, state in ends.items() if one in open_ones}

    def take_further(self, best: _Best, trained: Candidate) -> None:
        """Takes in what a further stretch made of the best candidate; its best moment is kept."""
        found, judged = trained.found, trained.judged
        error = _error(judged)
        if found is None or error == math.inf:
            self.kept = None  # there is no way on from here
            return
        if error < best.error:
            self.known[best.selection] = error, self.known[best.selection][1]
            best = replace(
                best, genotype=found.genotype, valid_loss=found.valid_loss, judged=dict(judged)
            )
        self.best, self.kept = best, trained.end
        self._enter(best.selection, best, found, judged)

    def _enter(
        self, selection: Selection, best: _Best, found: SearchResult, judged: Mapping[str, float]
    ) -> None:
        for name, counts in found.trained.items():
            self.trained[name] = self.trained.get(name, 0) + counts
        self.history.append({
            "seconds": self.seconds, "cpu_seconds": self.cpu, "steps": self.steps,
            "loss": found.history[-1]["loss"],
            "selected_loss": found.history[-1]["selected_loss"], "valid_loss": found.valid_loss,
            "alpha": rows_of(best.selection.to_gates(self.blocks).weights),
            "selection": best.selection.to_lists(), "scores": {}, "judged": best.judged,
            "candidate": {
                "selection": selection.to_lists(), "judged": dict(judged),
                "cost": self.known[selection][1], "epochs": found.epochs,
            },
        })  # fmt: skip

    def result(self) -> SearchResult:
        """The best candidate; DivergedError or BudgetError without one."""
        best = self._picked() if self.pool else self.best
        if best is None and self.known:
            raise DivergedError(
                f"search diverged in all of {len(self.known)} candidates; lower search.lr"
            )
        if best is None:
            raise BudgetError(
                f"search.seconds: expected enough for one candidate of "
                f"{self.settings.candidate.epochs} epochs, found {self.settings.seconds}; lower "
                "search.candidate_epochs"
            )
        return SearchResult(
            best.genotype, best.valid_loss, self._diagnostics(best), self.trained, self.history,
            self.seconds, self.epochs, self.steps, self.cpu,
        )  # fmt: skip

    def _picked(self) -> _Best:
        """The picked point of the front; the history ends with it."""
        objectives, pool = self.settings.objectives, list(self.pool.values())
        points = [[one.error, *(one.judged[name] for name in objectives)] for one in pool]
        number = picked(points, list(objectives), list(objectives.values()), self.settings.pick)
        best = pool[number]
        self.history[-1] = {
            **self.history[-1], "selection": best.selection.to_lists(), "judged": best.judged,
            "alpha": rows_of(best.selection.to_gates(self.blocks).weights),
        }  # fmt: skip
        return best

    def _diagnostics(self, best: _Best) -> dict[str, float]:
        """The keys of `Diagnostics.summary`, with a candidate in place of an architecture step."""
        told = sorted(pair[0] for pair in self.known.values())
        margin = told[1] - told[0] if len(told) > 1 and told[1] < math.inf else 0.0
        return {
            "arch_steps": len(self.known), "flips": self.flips,
            "ties": told.count(told[0]) - 1, "margin": margin,
            "stability": 1 - (best.number - 1) / len(self.known),
        }  # fmt: skip


def _error(judged: Mapping[str, float]) -> float:
    error = next(iter(judged.values()), math.inf)
    return error if math.isfinite(error) else math.inf


class _Ahead:
    """Candidates that others train before it is their turn, where the method knows them by then.

    Args:
        run: The loop.
        calls: Makes the trainings.
        device: They compute on it.
    """

    def __init__(self, run: _Sampling, calls: Calls, device: torch.device) -> None:
        self._run, self._calls, self._device = run, calls, device
        self._trainer: Any = None
        self._begun: dict[tuple[Selection, int], Call[Candidate]] = {}
        self._epochs: dict[tuple[Selection, int], int] = {}  # that each of them takes

    def begin(self) -> None:
        """Begins as many trainings as there are places, and some for the next free ones."""
        run, places = self._run, self._calls.places(self._device)
        if places < 2 or not isinstance(run.method, AsksAhead):
            return
        if self._trainer is None:
            self._trainer = self._calls.put(run.trainer)
        with run.on_clock():
            asked = run.method.ahead(min(2 * places, run.left))
        for selection in asked:
            wanted = run.asked(selection)
            if wanted is not None and self._key(wanted) not in self._begun and self._fits(wanted):
                is_first = not run.known and not self._begun
                self._begun[self._key(wanted)] = self._calls.start(
                    self._name(selection), self._device, train_apart, self._trainer, selection,
                    run.loop(is_first, wanted), wanted.before, run.keeps,
                )  # fmt: skip
                self._epochs[self._key(wanted)] = wanted.added

    def _key(self, wanted: _Wanted) -> tuple[Selection, int]:
        return wanted.selection, wanted.epochs

    def _fits(self, wanted: _Wanted) -> bool:
        """False for a training that the budget may cut short once those before it are done."""
        before = sum(self._epochs[key] for key in self._begun)
        return self._run.cut(before + wanted.added) == before + wanted.added

    def _name(self, selection: Selection) -> str:
        known = list(self._run.known)
        if selection in known:
            return f"candidate {known.index(selection) + 1} further"
        return f"candidate {len(known) + len(self._begun) + 1}"

    def result(self, wanted: _Wanted) -> Candidate | None:
        """The trained candidate; None: nobody has begun it."""
        call = self._begun.pop(self._key(wanted), None)
        return None if call is None else call.result()

    def drop(self) -> None:
        """Ends the trainings for which there is no time."""
        for call in self._begun.values():
            call.cancel()


def sample(
    make_space: Callable[[], Space],
    method: AskTell,
    streams: Streams,
    settings: SampleSettings,
    judge: Judged,
    tracker: Tracker,
    checkpointer: Checkpointer,
    on_candidate: Callable[[int, dict[str, Any]], None] = lambda epochs, entry: None,
    calls: Calls = HERE,
    device: torch.device = CPU,
) -> SearchResult:
    """Trains what a sampler asks for, from the start or from where the checkpointer left off.

    Args:
        make_space: A space with fresh weights, always the same.
        method: The sampler, made for such a space.
        streams: Fresh batches of the train and the validation part, always the same.
        settings: Numbers of the loop.
        judge: Asked about every candidate after its training, on the clock.
        tracker: Receives the numbers of every candidate.
        checkpointer: Keeps the loop's state, that of a candidate in training included.
        on_candidate: Called with the epochs so far and the history entry.
        calls: May train candidates that the method knows ahead.
        device: Of the trainings.

    Returns:
        The best candidate, with the continuous parameters that it learned. History entries are
        like those of `search`, one per candidate and further stretch of the best: "selection",
        "alpha", "judged" are of the best so far, "candidate" has what this one was and came to,
        and after how many epochs.

    Raises:
        ConfigError: A method whose selections are none of the space's.
        BudgetError: A budget that ends before the first candidate does.
        DivergedError: No candidate's training stayed finite.
    """
    run = _Sampling(make_space, method, streams, settings, judge, checkpointer)
    saved, inner = checkpointer.restore(), None
    if saved is not None:
        run.restore(saved)
        inner = saved["inner"]
    ahead = _Ahead(run, calls, device)
    while (wanted := run.wanted()) is not None:
        entries = len(run.history)
        if not _train(run, wanted, inner, ahead):
            break  # the budget ended in it
        inner = None
        if len(run.history) > entries:
            tracker.log(numbers(run.history[-1], run.blocks), len(run.history))
            on_candidate(run.epochs, run.history[-1])
        checkpointer.offer(lambda: run.state(None))
    ahead.drop()
    return run.result()


def _train(run: _Sampling, wanted: _Wanted, saved: State | None, ahead: _Ahead) -> bool:
    """Trains and judges a candidate; whether the budget lasted for it.

    Args:
        run: The loop.
        wanted: The training.
        saved: State of this training, if it had begun.
        ahead: Others may have trained it.
    """
    before = wanted.before
    done = before["step"] if before is not None else 0
    trained = None
    if wanted.best is None and saved is None:
        ahead.begin()
        trained = ahead.result(wanted)
    if trained is None:
        trained = _trained_here(run, wanted, saved)
    run.blocks = trained.blocks
    run.seconds += trained.seconds
    run.cpu += trained.cpu_seconds
    found, steps = trained.found, trained.steps
    if found is not None and found.steps < steps:
        run.steps += found.steps - done  # of no use, but taken
        return False
    run.epochs += wanted.added
    run.steps += steps - done
    if wanted.best is None:
        run.take(wanted, trained)
    else:
        run.take_further(wanted.best, trained)
    return True


def _trained_here(run: _Sampling, wanted: _Wanted, saved: State | None) -> Candidate:
    """A candidate, trained in this process, which saves its state as that of the loop.

    Args:
        run: The loop.
        wanted: The training.
        saved: State of this training, if it had begun.
    """
    loop = run.loop(not run.known, wanted)
    begin = copy.deepcopy(wanted.before) if saved is None else saved  # optimizers write into theirs
    keeper = EndKeeper(
        loop.length, run.keeps, begin,
        lambda state: run.checkpointer.offer(lambda: run.state(state())),
    )  # fmt: skip
    trained = train_candidate(run.trainer, wanted.selection, loop, keeper)
    if saved is None:
        return trained
    return replace(
        trained, seconds=trained.seconds + saved["seconds"],
        cpu_seconds=trained.cpu_seconds + saved["cpu_seconds"],
    )  # fmt: skip
