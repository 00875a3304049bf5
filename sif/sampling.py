"""The loop of samplers: every selection that one asks for is trained alone, from fresh weights.

A candidate is a search in which nothing is searched (`sif.methods.fixed`): the loop, the optimiser,
the batches and the judge are those of the methods that share weights, and so is the space, of which
each candidate gets a new one with the same first weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from sif.errors import ConfigError, DivergedError
from sif.genotype import from_json
from sif.methods.base import Sampling
from sif.methods.checks import check_gates
from sif.methods.fixed import fixed
from sif.methods.selections import cost_of
from sif.prox import Block, Gates
from sif.search import Checkpointer, SearchResult, SearchSettings, search
from sif.search_entries import chosen_by, numbers, rows_of
from sif.spaces.base import Space
from sif.streams import Stream
from sif.tracking import NullTracker, Tracker

REPEATS = 100
"""Times in a row that a sampler may ask for what it has been told before it counts as finished."""

State = dict[str, Any]
Judged = Callable[[Space, Gates], Mapping[str, float]]
"""Numbers about a selection of a space with its weights, the first of which decides."""


@dataclass(frozen=True)
class SampleSettings:
    """Numbers of the loop.

    Attributes:
        candidate: Of the training of one candidate; its own budget is not read.
        continuous_lr: Adam step size of continuous architecture parameters.
        candidates: How many are trained at most; None: until another limit.
        seconds: CPU seconds: none is begun that at the mean cost so far would not fit, and none
            runs on beyond; None: no such limit.
    """

    candidate: SearchSettings
    continuous_lr: float
    candidates: int | None = None
    seconds: float | None = None


class _Sampling:
    """State of a running loop."""

    def __init__(self, method: Sampling, settings: SampleSettings) -> None:
        self.method, self.settings = method, settings
        self.history: list[dict[str, Any]] = []
        self.known: dict[str, list[float]] = {}
        self.trained: dict[str, Tensor] = {}
        self.best: State = {}
        self.blocks: Sequence[Block] = ()
        self.epochs = self.steps = self.repeats = self.flips = 0
        self.seconds = self.cpu = 0.0

    _KEPT = ("history", "known", "trained", "best", "epochs", "steps", "repeats", "flips",
             "seconds", "cpu")  # fmt: skip

    def state(self, inner: State | None) -> State:
        own = {name: getattr(self, name) for name in self._KEPT}
        return {**own, "method": self.method.state_dict(), "inner": inner}

    def restore(self, state: State) -> None:
        for name in self._KEPT:
            setattr(self, name, state[name])
        self.method.load_state_dict(state["method"])

    def fits(self) -> bool:
        """Whether one more candidate does."""
        done, limit = len(self.known), self.settings.seconds
        if self.settings.candidates is not None and done >= self.settings.candidates:
            return False
        return limit is None or not done or self.cpu + self.cpu / done <= limit

    def take(
        self, space: Space, gates: Gates, found: SearchResult | None, judged: Mapping[str, float]
    ) -> None:
        """Tells the method of a candidate, and keeps it if it is the best so far."""
        error = next(iter(judged.values()), math.inf)
        error = error if math.isfinite(error) else math.inf
        cost = cost_of(gates, space.blocks)
        self.known[_name(gates)] = [error, cost]
        self.method.tell(gates, error, cost)
        if found is None or error == math.inf:
            return  # an entry would have no numbers
        for name, counts in found.trained.items():
            self.trained[name] = self.trained.get(name, 0) + counts
        if not self.best or error < self.best["error"]:
            self.flips += bool(self.best)
            self.best = {
                "genotype": found.genotype.to_json(), "valid_loss": found.valid_loss,
                "error": error, "judged": dict(judged), "selection": chosen_by(gates),
                "number": len(self.history) + 1,
            }  # fmt: skip
        self.history.append({
            "seconds": self.seconds, "cpu_seconds": self.cpu, "steps": self.steps,
            "loss": found.history[-1]["loss"], "valid_loss": found.valid_loss,
            "alpha": rows_of(self.method.alpha()), "selection": self.best["selection"],
            "scores": {}, "judged": self.best["judged"],
            "candidate": {"selection": chosen_by(gates), "judged": dict(judged), "cost": cost},
        })  # fmt: skip

    def result(self) -> SearchResult:
        """What was found."""
        if not self.best and self.known:
            raise DivergedError(
                f"search diverged in all of {len(self.known)} candidates; lower search.lr"
            )
        if not self.best:
            raise ConfigError(
                f"search.seconds: expected enough for one candidate of "
                f"{self.settings.candidate.epochs} epochs, found {self.settings.seconds}; lower "
                "search.candidate_epochs"
            )
        return SearchResult(
            from_json(self.best["genotype"]), self.best["valid_loss"], self._diagnostics(),
            self.trained, self.history, self.seconds, self.epochs, self.steps, self.cpu,
        )  # fmt: skip

    def _diagnostics(self) -> dict[str, float]:
        """As `Diagnostics.summary` has them, a candidate in the place of an architecture step."""
        told = sorted(pair[0] for pair in self.known.values())
        margin = told[1] - told[0] if len(told) > 1 and told[1] < math.inf else 0.0
        return {
            "arch_steps": len(self.known), "flips": self.flips,
            "ties": told.count(told[0]) - 1, "margin": margin,
            "stability": 1 - (self.best["number"] - 1) / len(self.known),
        }  # fmt: skip


def _name(gates: Gates) -> str:
    return str(sorted(chosen_by(gates).items()))


class _Inner:
    """Saves a candidate's search inside the state of the loop."""

    def __init__(self, outer: Checkpointer, run: _Sampling, saved: State | None) -> None:
        self._outer, self._run, self._saved = outer, run, saved

    def restore(self) -> State | None:
        return self._saved

    def offer(self, state: Callable[[], State]) -> None:
        self._outer.offer(lambda: self._run.state(state()))


def sample(
    make_space: Callable[[], Space],
    method: Sampling,
    streams: Callable[[], tuple[Stream, Stream]],
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
        like those of `search`, one per candidate: "selection", "alpha", "judged" are of the best
        so far, "candidate" has what this one was and came to.

    Raises:
        ConfigError: A method whose selections are none of the space's, or a budget that ends
            before the first candidate does.
        DivergedError: No candidate's training stayed finite.
    """
    run, saved = _Sampling(method, settings), checkpointer.restore()
    inner = None
    if saved is not None:
        run.restore(saved)
        inner = saved["inner"]
    while run.fits() and run.repeats < REPEATS:
        gates = method.ask()
        if gates is None:
            break
        if (known := run.known.get(_name(gates))) is not None:
            run.repeats += 1
            method.tell(gates, *known)
            continue
        run.repeats, entries = 0, len(run.history)
        if not _train(run, make_space, gates, streams, judge, checkpointer, inner):
            break  # the budget ended in it
        inner = None
        if len(run.history) > entries:
            tracker.log(numbers(run.history[-1], run.blocks), len(run.history))
            on_candidate(run.epochs, run.history[-1])
        checkpointer.offer(lambda: run.state(None))
    return run.result()


def _train(
    run: _Sampling, make_space: Callable[[], Space], gates: Gates,
    streams: Callable[[], tuple[Stream, Stream]], judge: Judged, checkpointer: Checkpointer,
    saved: State | None,
) -> bool:  # fmt: skip
    """Trains, judges and tells of one candidate; whether the budget lasted for it."""
    wall, cpu = time.perf_counter(), time.process_time()
    if saved is not None:
        wall, cpu = wall - saved["seconds"], cpu - saved["cpu_seconds"]
    settings, space = run.settings, make_space()
    run.blocks = space.blocks
    check_gates(gates, space.blocks, run.method)
    loop, one = settings.candidate, fixed(space, gates, settings.continuous_lr)
    if settings.seconds is not None:
        loop = replace(loop, seconds=max(settings.seconds - run.cpu, 1e-9))
    train, valid = streams()
    steps = loop.epochs * (loop.steps_per_epoch or train.steps_per_pass)
    found: SearchResult | None = None
    judged: Mapping[str, float] = {}
    try:
        keeps = _Inner(checkpointer, run, saved)
        found = search(space, one, train, valid, loop, NullTracker(), keeps)
        judged = judge(space, gates) if found.steps == steps else {}
    except DivergedError:
        pass  # tells the method so: as bad as can be
    run.seconds += time.perf_counter() - wall
    run.cpu += time.process_time() - cpu
    if found is not None and found.steps < steps:
        run.steps += found.steps  # of no use, but taken
        return False
    run.epochs, run.steps = run.epochs + loop.epochs, run.steps + steps
    run.take(space, gates, found, judged)
    return True
