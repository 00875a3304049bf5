"""Promises of every search method.

No check sees a test part: a `MethodRun` is made of a train stream, a validation stream and a judge,
and has nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import torch

from sif.core.gates import Block, Gates, Selection
from sif.core.space import Space
from sif.core.stream import Checkpointer, Stream
from sif.errors import ShapeError
from sif.methods.kind import MethodKind
from sif.methods.registry import METHODS
from sif.search.loop import SearchResult
from sif.search.run import MethodRun
from sif.testing.promises import ContractError, killed_and_resumed, promise
from sif.tracking import NullTracker
from sif.utils.calls import CallsHere
from sif.utils.checkpoint import NoCheckpoint

CLOCKS = ("seconds", "cpu_seconds")
"""Entries of a history that differ from run to run."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A method on a small problem.

    Attributes:
        name: Name of the method.
        run: The run that searches; `steps` of its section is the budget, some epochs long.
        kind: The method, where no name of the table or of an entry point leads to it.

    Examples:
        >>> from sif.testing import Trial, toy_run
        >>> found = Trial("nasp", toy_run("space=primitives")).search()
        >>> found.genotype.space
        'primitives'
    """

    name: str
    run: MethodRun
    kind: MethodKind | None = None

    def search(self, checkpointer: Checkpointer | None = None) -> SearchResult:
        """One search from the start, or from where the checkpointer left off."""
        keeps = checkpointer or NoCheckpoint()
        return self.run.run(self.name, NullTracker(), keeps, lambda *_: None, self.kind)

    @property
    def samples(self) -> bool:
        """True if the method trains selections one by one."""
        return (self.kind or METHODS.named(self.name)).samples


def check_method(trial: Trial, kills: Sequence[int] = (1, 3)) -> SearchResult:
    """Runs all checks of a method; returns what the search found.

    Args:
        trial: The method on a small problem, which some seven searches are made on.
        kills: Saved states after which a search is killed and resumed.

    Examples:
        >>> from sif.testing import Trial, check_method, toy_run
        >>> found = check_method(Trial("random-ws", toy_run("space=primitives")), kills=(1,))
    """
    found = check_steps(trial)
    check_selections(found, trial.run.make_space(False).blocks)
    check_repeats(trial, found)
    check_resume(trial, found, kills)
    if trial.samples:
        check_ahead(trial, found)
    return found


def check_steps(trial: Trial) -> SearchResult:
    """The budget: never more weight steps than asked, exactly those where weights are shared.

    Also that no global random state is read or moved.
    """
    draws: list[Mock] = []

    def streams() -> tuple[Stream, Stream]:
        train, valid = trial.run.streams()
        draws.append(Mock(wraps=train.next))
        train.next = draws[-1]  # type: ignore[method-assign]
        return train, valid

    def judge(space: Space, gates: Gates) -> float:
        with torch.random.fork_rng(devices=()):  # judges may build networks; methods may not
            return trial.run.judge(space, gates)

    counted = replace(trial.run, streams=streams, judge=judge)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    found = replace(trial, run=counted).search()
    after = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    untouched = torch.equal(before[0], after[0]) and before[1] == after[1]
    promise(untouched, "global random generators are left alone", "one that has moved")
    budget = trial.run.section.steps or 0
    promise(found.steps <= budget, f"at most {budget} weight steps", found.steps)
    drawn = sum(draw.call_count for draw in draws)
    promise(drawn <= budget, f"at most {budget} train batches", drawn)
    if not trial.samples:
        promise(found.steps == budget, f"exactly {budget} weight steps", found.steps)
    steps = [entry["steps"] for entry in found.history]
    promise(steps == sorted(steps), "steps that never fall in the history", steps)
    return found


def check_selections(found: SearchResult, blocks: Sequence[Block]) -> None:
    """Every selection of the history is legal, and the last one is that of the genotype."""
    for number, entry in enumerate(found.history, start=1):
        try:
            Selection(entry["selection"]).check(blocks)
        except ShapeError as error:
            raise ContractError(f"entry {number}: expected a legal selection: {error}") from error
    named = Selection(found.history[-1]["selection"]).named(blocks)
    for name, kept in named.items():
        told = found.genotype.blocks[name]
        promise(kept == told, f"block {name!r} of the genotype to be {kept}", told)


def check_repeats(trial: Trial, found: SearchResult) -> None:
    """The same seed finds the same, bit for bit."""
    _alike(found, trial.search(), "a search with the same seed")


def check_resume(trial: Trial, found: SearchResult, kills: Sequence[int] = (1, 3)) -> None:
    """A killed search goes on to the same end, from a state that a checkpoint can hold."""
    for kill in kills:
        resumed = killed_and_resumed(trial.search, kill)
        _alike(found, resumed, f"a search resumed from saved state {kill}")


class _Ahead(CallsHere):
    """Calls that have places beside each other, but are made one after the other."""

    def places(self, device: torch.device) -> int:
        return 3


def check_ahead(trial: Trial, found: SearchResult) -> None:
    """Candidates that a sampler knows ahead are those that it asks for, in their order."""
    runtime = replace(trial.run.runtime, calls=_Ahead())
    again = replace(trial, run=replace(trial.run, runtime=runtime)).search()
    _alike(found, again, "a search whose candidates are trained side by side")


def _timeless(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k not in CLOCKS} for entry in history]


def _alike(found: SearchResult, again: SearchResult, what: str) -> None:
    ours, theirs = _timeless(found.history), _timeless(again.history)
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=False), start=1):
        for key, value in mine.items():
            told = f"{what} to have the same {key!r} in entry {number}: {value}"
            promise(other.get(key) == value, told, other.get(key))
    promise(len(ours) == len(theirs), f"{what} to have {len(ours)} entries", len(theirs))
    for name in ("genotype", "valid_loss", "steps"):
        value, other_value = getattr(found, name), getattr(again, name)
        promise(value == other_value, f"{what} to have the same {name}: {value}", other_value)
