"""The loop of samplers: every selection that one asks for is trained alone, from fresh weights.

A candidate is a search in which nothing is searched (`sif.methods.fixed`): the loop, the optimizer,
the batches and the judge are those of the methods that share weights, and so is the space, of which
each candidate gets a new one with the same first weights.

Where a method has nothing further to ask for before the budget is used, as in a space of five
selections, the best candidate is trained on for the rest of it.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from sif.core.gates import Block, Gates, Selection
from sif.core.genotype import Genotype
from sif.core.method import AskTell
from sif.core.space import Space
from sif.core.stream import Checkpointer, Stream
from sif.errors import BudgetError, DivergedError, NotNumberError
from sif.methods.fixed import fixed
from sif.search.checks import refuse_illegal
from sif.search.history import Diagnostics, numbers, rows_of
from sif.search.loop import SearchResult, SearchSettings, search
from sif.tracking import NullTracker, Tracker
from sif.utils.device import never
from sif.utils.ranks import sharing

REPEATS = 100
"""Times in a row that a sampler may ask for what it has been told before it counts as finished."""

State = dict[str, Any]
Streams = Callable[[], tuple[Stream, Stream]]
Judged = Callable[[Space, Gates], Mapping[str, float]]
"""Numbers about a selection of a space with its weights, the first of which decides."""


@dataclass(frozen=True)
class SampleSettings:
    """Numbers of the loop.

    Attributes:
        candidate: Of the training of one candidate; its own budget is not read.
        continuous_lr: Adam step size of continuous architecture parameters.
        candidates: How many are trained at most, a further stretch of the best counting as one;
            None: until another limit.
        seconds: CPU seconds: none is begun that at the mean cost so far would not fit, and none
            runs on beyond; None: no such limit.
    """

    candidate: SearchSettings
    continuous_lr: float
    candidates: int | None = None
    seconds: float | None = None


@dataclass
class _Best:
    """The best candidate so far, at its best moment.

    Attributes:
        selection: Of the candidate.
        number: Of its first history entry, from 1.
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


class _Sampling:
    """State of a running loop; arguments as for `sample`."""

    def __init__(
        self, make_space: Callable[[], Space], method: AskTell, streams: Streams,
        settings: SampleSettings, judge: Judged, checkpointer: Checkpointer,
    ) -> None:  # fmt: skip
        self.make_space, self.streams, self.judge = make_space, streams, judge
        self.method, self.settings, self.checkpointer = method, settings, checkpointer
        self.history: list[dict[str, Any]] = []
        self.known: dict[Selection, tuple[float, float]] = {}  # with error and cost
        self.trained: dict[str, Tensor] = {}
        self.best: _Best | None = None
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
            "best": self.best and self.best.state(),
            "method": self.method.state_dict(),
            "inner": inner,
        }

    def restore(self, state: State) -> None:
        for name in self._KEPT:
            setattr(self, name, state[name])
        self.known = {Selection(lists): (error, cost) for lists, error, cost in state["known"]}
        self.best = state["best"] and _Best.of(state["best"])
        self.method.load_state_dict(state["method"])

    @property
    def limited(self) -> bool:
        """True if there is a budget that the method may leave unused."""
        return self.settings.candidates is not None or self.settings.seconds is not None

    @contextmanager
    def on_clock(self) -> Iterator[None]:
        """Counts the time of a block of statements."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu

    def fits(self) -> bool:
        """True if one more candidate fits, or one more stretch of the best."""
        done, limit = self.epochs // self.settings.candidate.epochs, self.settings.seconds
        if done and self.settings.candidate.out_of_time():
            return False
        if self.settings.candidates is not None and done >= self.settings.candidates:
            return False
        if limit is None or not done:
            return True
        return sharing().told(self.cpu + self.cpu / done <= limit)

    def wanted(self) -> Selection | _Best | None:
        """The next candidate; the best one, if the method has no further; None: neither."""
        while self.fits():
            selection = self._asked()
            if selection is None:
                self.finished = True
                return self.best if self.limited and self.kept is not None else None
            if selection not in self.known:
                self.repeats = 0
                return selection
            self.repeats += 1
        return None

    def _asked(self) -> Selection | None:
        """The selection that the method asks for; a known result is told to it at once."""
        if self.finished or self.repeats >= REPEATS:
            return None
        with self.on_clock():
            selection = self.method.ask()
            if selection is not None and selection in self.known:
                self.method.tell(selection, *self.known[selection])
        return selection

    def take(
        self, selection: Selection, found: SearchResult | None, judged: Mapping[str, float],
        end: State | None,
    ) -> None:  # fmt: skip
        """Tells the method of a candidate, and keeps it if it is the best so far."""
        error, cost = _error(judged), selection.cost(self.blocks)
        self.known[selection] = error, cost
        with self.on_clock():
            self.method.tell(selection, error, cost)
        if found is None or error == math.inf:
            return  # an entry would have no numbers
        best = self.best
        if best is None or error < best.error:
            self.flips += best is not None
            number = len(self.history) + 1
            best = _Best(selection, number, found.genotype, found.valid_loss, dict(judged))
            self.best, self.kept = best, end
        self._enter(selection, best, found, judged)

    def take_further(
        self, best: _Best, found: SearchResult | None, judged: Mapping[str, float],
        end: State | None,
    ) -> None:  # fmt: skip
        """Takes in what a further stretch made of the best candidate; its best moment is kept."""
        error = _error(judged)
        if found is None or error == math.inf:
            self.kept = None  # there is no way on from here
            return
        if error < best.error:
            self.known[best.selection] = error, self.known[best.selection][1]
            best = replace(
                best, genotype=found.genotype, valid_loss=found.valid_loss, judged=dict(judged)
            )
        self.best, self.kept = best, end
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
        best = self.best
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


class _Inner:
    """Saves a candidate's search inside the state of the loop, and keeps its state at the end.

    Args:
        run: The loop.
        saved: Where the search begins; None: at the start.
        epochs: After which it ends.
    """

    def __init__(self, run: _Sampling, saved: State | None, epochs: int) -> None:
        self._run, self._saved, self._epochs = run, saved, epochs
        self.end = self._ended(saved) if saved is not None else None

    def restore(self) -> State | None:
        return self._saved

    def offer(self, state: Callable[[], State]) -> None:
        if self._run.limited:
            self.end = self._ended(state())
        self._run.checkpointer.offer(lambda: self._run.state(state()))

    def _ended(self, state: State) -> State | None:
        """To go on from, with clock and counts at their beginning."""
        if state["epoch"] < self._epochs:
            return None
        afresh = {"seconds": 0.0, "cpu_seconds": 0.0, "diagnostics": vars(Diagnostics())}
        return copy.deepcopy({**state, "history": state["history"][-1:], **afresh})


def sample(
    make_space: Callable[[], Space],
    method: AskTell,
    streams: Streams,
    settings: SampleSettings,
    judge: Judged,
    tracker: Tracker,
    checkpointer: Checkpointer,
    on_candidate: Callable[[int, dict[str, Any]], None] = lambda epochs, entry: None,
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
    while (wanted := run.wanted()) is not None:
        entries = len(run.history)
        if not _train(run, wanted, inner):
            break  # the budget ended in it
        inner = None
        if len(run.history) > entries:
            tracker.log(numbers(run.history[-1], run.blocks), len(run.history))
            on_candidate(run.epochs, run.history[-1])
        checkpointer.offer(lambda: run.state(None))
    return run.result()


def _train(run: _Sampling, wanted: Selection | _Best, saved: State | None) -> bool:
    """Trains and judges a candidate, or the best one further; whether the budget lasted for it.

    Args:
        run: The loop.
        wanted: The candidate, of which the method is told; or the best one so far, which goes on
            for as long as it took at first, from where it was left.
        saved: State of this training, if it had begun.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    if saved is not None:
        wall, cpu = wall - saved["seconds"], cpu - saved["cpu_seconds"]
    settings, space = run.settings, run.make_space()
    run.blocks = space.blocks
    best = wanted if isinstance(wanted, _Best) else None
    before = run.kept if best is not None else None
    selection = wanted.selection if isinstance(wanted, _Best) else wanted
    refuse_illegal(selection, space.blocks, run.method)
    epochs, done = (before["epoch"], before["step"]) if before is not None else (0, 0)
    loop = replace(settings.candidate, epochs=epochs + settings.candidate.epochs)
    if not run.known:  # a search has at least one candidate
        loop = replace(loop, out_of_time=never)
    if settings.seconds is not None:
        loop = replace(loop, seconds=max(settings.seconds - run.cpu, 1e-9))
    train, valid = run.streams()
    steps = loop.epochs * (loop.steps_per_epoch or train.steps_per_pass)
    found: SearchResult | None = None
    judged: Mapping[str, float] = {}
    begin = copy.deepcopy(before) if saved is None else saved  # optimizers write into theirs
    keeps = _Inner(run, begin, loop.epochs)
    try:
        one = fixed(space, selection, settings.continuous_lr)
        found = search(space, one, train, valid, loop, NullTracker(), keeps)
        judged = run.judge(space, selection.to_gates(space.blocks)) if found.steps == steps else {}
    except (DivergedError, NotNumberError):
        pass  # tells the method so: as bad as can be
    run.seconds += time.perf_counter() - wall
    run.cpu += time.process_time() - cpu
    if found is not None and found.steps < steps:
        run.steps += found.steps - done  # of no use, but taken
        return False
    run.epochs, run.steps = run.epochs + settings.candidate.epochs, run.steps + steps - done
    if best is None:
        run.take(selection, found, judged, keeps.end)
    else:
        run.take_further(best, found, judged, keeps.end)
    return True
